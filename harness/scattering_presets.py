"""Presets for linear models on scattering features, without public data (Tramèr and Boneh 2021, arXiv 2011.11660).

The settings of MNIST, Fashion-MNIST and CIFAR-10 were chosen on a part of the training set (``reports/scatter``); those of the
digits were not searched for.
"""

from .preset import Preset
from .recipe import RateSchedule, Recipe
from .scattering_settings import ScatteringSettings

_CENTRING = 30.0
_BOUND = 0.1
_FEATURES = ScatteringSettings(centring=_CENTRING)


def _preset(
    dataset: str,
    model: str,
    *,
    size: int,
    batch: int,
    epochs: int,
    rate: float,
    average: float = 0.0,
    features: ScatteringSettings = _FEATURES,
) -> Preset:
    return Preset(
        name=f"scatter-{dataset}",
        dataset=dataset,
        model=model,
        metric=dataset,
        dataset_size=size,
        batch_size=batch,
        epochs=epochs,
        max_grad_norm=_BOUND,
        recipe=Recipe(learning_rate=rate, schedule=RateSchedule.CONSTANT, average_decay=average),
        features=features,
    )


SCATTER_PRESETS = (
    _preset("digits", "ScatterLinear-8x1", size=1_437, batch=256, epochs=12, rate=2.0),
    _preset(
        "mnist",
        "ScatterLinear-28x1",
        size=60_000,
        batch=8_192,
        epochs=40,
        rate=7.0,
        average=0.9,
        features=ScatteringSettings(
            centring=_CENTRING, whitening=8.0, whitening_power=0.35, whitening_floor=0.2, row_bound=0.7
        ),
    ),
    _preset(
        "fmnist",
        "ScatterLinear-28x1",
        size=60_000,
        batch=8_192,
        epochs=40,
        rate=10.0,
        average=0.9,
        features=ScatteringSettings(
            mirrored=True, centring=_CENTRING, whitening=8.0, whitening_power=0.35, whitening_floor=0.2, row_bound=0.7
        ),
    ),
    _preset(
        "cifar10",
        "ScatterLinear-32x3",
        size=50_000,
        batch=8_192,
        epochs=60,
        rate=3.5,
        average=0.97,
        features=ScatteringSettings(
            mirrored=True, centring=_CENTRING, whitening=8.0, whitening_power=0.25, whitening_floor=0.3, row_bound=0.5
        ),
    ),
)
