"""Published figures that ``dpaudit table`` prints beside ours. Facts, with their sources; none of them decides anything."""

from collections.abc import Mapping

_BENCHMARK: Mapping[str, Mapping[str, float]] = {
    "standard_dpsgd": {"mnist": 96.20, "fmnist": 80.83, "cifar10": 56.05},
    "adaptive_clipping": {"mnist": 94.08, "fmnist": 80.91, "cifar10": 61.29},
    "automatic_clipping": {"mnist": 95.78, "fmnist": 78.96, "cifar10": 55.45},
    "noise_decay": {"mnist": 95.62, "fmnist": 78.94, "cifar10": 54.63},
}
"""Mean test accuracy of three seeds, percent: the public benchmark ``optimization-dp-sgd``, its baselines."""

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

PAPER_LADDER: Mapping[str, tuple[str, float, str | None]] = {
    "1": ("no norm", 29.58, None),
    "2": ("group norm", 38.11, None),
    "3": ("weight standardisation, batch 256", 38.13, "paper-resnet20-sgd-256"),
    "4": ("averaging, batch 512", 44.04, "paper-resnet20-sgd-512"),
    "5": ("batch 1024", 46.76, "paper-resnet20-sgd"),
    "6": ("grouped clipping (as declared; its code ran flat clipping)", 47.61, None),
}
"""Step to settings, published test accuracy and our preset, ``None`` where there is none. Same source."""


def published_benchmark(mechanism: str, metric: str) -> float | None:
    """The published accuracy of a baseline, or ``None``."""
    return _BENCHMARK.get(mechanism, {}).get(metric)
