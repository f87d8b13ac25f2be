"""Published figures that ``dpaudit table`` prints beside ours. Facts, with their sources; none of them decides anything."""

from collections.abc import Mapping
from dataclasses import dataclass

_BENCHMARK: Mapping[str, Mapping[str, float]] = {
    "standard_dpsgd": {"mnist": 96.20, "fmnist": 80.83, "cifar10": 56.05},
    "adaptive_clipping": {"mnist": 94.08, "fmnist": 80.91, "cifar10": 61.29},
    "automatic_clipping": {"mnist": 95.78, "fmnist": 78.96, "cifar10": 55.45},
    "noise_decay": {"mnist": 95.62, "fmnist": 78.94, "cifar10": 54.63},
}
"""Mean test accuracy of three seeds, percent: the public benchmark ``optimization-dp-sgd``, its baselines."""

PUBLISHED_DATA_SETS: Mapping[str, str] = {"mnist": "MNIST", "fmnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
"""The benchmark's data sets: the suffix of its metrics, and the name as printed."""

PAPER_TABLE: Mapping[tuple[str, str, str], tuple[float, float, float, float]] = {
    ("ResNet-20", "DP-RMSProp", "paper-resnet20-rmsprop"): (58.6, 59.5, 59.0, 0.4),
    ("ResNet-20", "DP-SGD", "paper-resnet20-sgd"): (47.1, 47.6, 47.6, 0.2),
    ("ResNet-20", "DP-AdaGrad", "paper-resnet20-adagrad"): (35.4, 37.3, 36.9, 0.7),
    ("WRN-16-4", "DP-RMSProp", "paper-wrn16-4-rmsprop"): (50.8, 51.1, 50.9, 0.1),
    ("WRN-16-4", "DP-SGD", "paper-wrn16-4-sgd"): (49.2, 50.1, 49.1, 0.4),
    ("WRN-16-4", "DP-AdaGrad", "paper-wrn16-4-adagrad"): (30.2, 31.6, 30.6, 0.5),
}
"""(network, optimiser, our preset) to minimum, maximum, median and MAD of five runs, CIFAR-10 at (3, 1e-5), trained from
scratch: "Privacy-Preserving Optimizers for Image Classification" (2024), Table 1."""

PAPER_PUBLIC_TABLE: Mapping[tuple[str, str, str], tuple[float, float, float, float]] = {
    ("EfficientNet-B0", "DP-RMSProp", "paper-efficientnet-b0-public-rmsprop"): (48.4, 49.6, 49.1, 0.6),
    ("EfficientNet-B0", "DP-SGD", "paper-efficientnet-b0-public-sgd"): (24.6, 25.4, 25.1, 0.4),
    ("EfficientNet-B0", "DP-AdaGrad", "paper-efficientnet-b0-public-adagrad"): (17.3, 19.6, 18.2, 0.8),
}
"""The rows of the same table that start from ImageNet weights: public data, so never in one table with the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderStep:
    """One step of the paper's ladder.

    Attributes:
        settings: in words, as the paper has them.
        accuracy: published test accuracy, percent.
        preset: ours.
        grouped: whether the step is grouped clipping; ``None`` where any mechanism of the preset belongs here.
    """

    settings: str
    accuracy: float
    preset: str
    grouped: bool | None = None


PAPER_LADDER: Mapping[str, LadderStep] = {
    "1": LadderStep(settings="no norm", accuracy=29.58, preset="paper-resnet20-plain-sgd-256"),
    "2": LadderStep(settings="group norm", accuracy=38.11, preset="paper-resnet20-groupnorm-sgd-256"),
    "3": LadderStep(settings="weight standardisation", accuracy=38.13, preset="paper-resnet20-sgd-256"),
    "4": LadderStep(settings="averaging, batch 512", accuracy=44.04, preset="paper-resnet20-sgd-512"),
    "5": LadderStep(settings="batch 1024", accuracy=46.76, preset="paper-resnet20-sgd", grouped=False),
    "6": LadderStep(
        settings="grouped clipping (as declared; its code ran flat clipping)",
        accuracy=47.61,
        preset="paper-resnet20-sgd",
        grouped=True,
    ),
}
"""ResNet-20 with DP-SGD, step by step. Same source; it states no batch size for steps 1 to 3."""


def published_baselines() -> tuple[str, ...]:
    """The baselines that have published accuracies."""
    return tuple(_BENCHMARK)


def published_benchmark(mechanism: str, metric: str) -> float | None:
    """The published accuracy of a baseline, or ``None``."""
    return _BENCHMARK.get(mechanism, {}).get(metric)
