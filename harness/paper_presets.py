"""Presets for the systems of ``Privacy-Preserving Optimizers for Image Classification`` (2024), CIFAR-10 at (3, 1e-5).

Settings as the paper states them; sigma is calibrated here by PLD for Poisson sampling. What its published code trained,
whatever it declares, is flat clipping at 1.2 with logical batches of 4096 for 50 epochs. The weight average is stepped once
a logical step here (there: once a physical batch, which makes 0.95 nearly no averaging).
"""

from .preset import Preset
from .recipe import Augmentation, Optimiser, RateSchedule, Recipe

_SIZE, _EPOCHS, _BATCH, _BOUND = 50_000, 50, 4_096, 1.2
_AUGMENTED = (Augmentation.FLIP, Augmentation.CROP, Augmentation.AUGMIX)
_NETWORKS = {
    "resnet20": ("ResNet20", 0.0),
    "wrn16-4": ("WRN-16-4", 0.1),
    "efficientnet-b0": ("EfficientNet-B0", 0.2),
}
_OPTIMISERS = {
    "rmsprop": (Optimiser.RMSPROP, 8e-4, 9e-5, 1e-4),
    "adagrad": (Optimiser.ADAGRAD, 8e-4, 9e-5, 0.0),
    "sgd": (Optimiser.SGD, 0.1, 0.0, 0.0),
}


def _recipe(optimiser: str, *, dropout: float, average: float = 0.95, public: bool = False) -> Recipe:
    kind, rate, final, decay = _OPTIMISERS[optimiser]
    return Recipe(
        optimiser=kind,
        learning_rate=rate,
        final_rate=final,
        momentum=0.9 if kind is not Optimiser.ADAGRAD else 0.0,
        weight_decay=decay,
        schedule=RateSchedule.COSINE,
        average_decay=average,
        augmentations=_AUGMENTED,
        dropout=dropout,
        public_weights=public,
    )


def _preset(name: str, model: str, recipe: Recipe, *, batch: int) -> Preset:
    return Preset(
        name=name,
        dataset="cifar10",
        model=model,
        metric="cifar10",
        dataset_size=_SIZE,
        batch_size=batch,
        epochs=_EPOCHS,
        max_grad_norm=_BOUND,
        recipe=recipe,
    )


def _paper_presets() -> tuple[Preset, ...]:
    """Table 1 (network by optimiser; EfficientNet-B0 also from public weights), and the ladder from no norm to batch 512.

    The ladder's last steps are the DP-SGD preset of Table 1 with flat and with grouped clipping. The paper states no batch size
    for the first three; 256 is the smallest that it names.
    """
    found = []
    for network, (model, dropout) in _NETWORKS.items():
        for optimiser in _OPTIMISERS:
            batch = 1_024 if optimiser == "sgd" else _BATCH
            found.append(
                _preset(f"paper-{network}-{optimiser}", model, _recipe(optimiser, dropout=dropout), batch=batch)
            )
    unaveraged = _recipe("sgd", dropout=0.0, average=0.0)
    for kind in ("plain", "groupnorm"):
        found.append(_preset(f"paper-resnet20-{kind}-sgd-256", f"ResNet20-{kind}", unaveraged, batch=256))
    for batch, average in ((256, 0.0), (512, 0.95)):
        name = f"paper-resnet20-sgd-{batch}"
        found.append(_preset(name, "ResNet20", _recipe("sgd", dropout=0.0, average=average), batch=batch))
    for optimiser in _OPTIMISERS:
        recipe = _recipe(optimiser, dropout=0.2, public=True)
        batch = 1_024 if optimiser == "sgd" else _BATCH
        name = f"paper-efficientnet-b0-public-{optimiser}"
        found.append(_preset(name, "EfficientNet-B0-frozen", recipe, batch=batch))
    return tuple(found)


PAPER_PRESETS = _paper_presets()
