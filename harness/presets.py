"""Presets: the settings of a training run, and the RunConfig that each declares. No data is loaded here.

``digits`` trains in seconds anywhere. ``mnist``, ``fmnist`` and ``cifar10`` use the benchmark's settings with a valid
accountant and the sampler that it assumes. ``benchmark-*`` repeat the published runs as they really were: shuffled
batches, and the benchmark's own formula for sigma, which is invalid and kept in order to be refuted.
"""

import difflib
from dataclasses import dataclass, field

from dpaudit.contract import Calibration, Cell, NonFinite, Relation, Rows, Sampler, UsageError

BENCHMARK_SEEDS = (42, 123, 456)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Settings of one training run.

    Attributes:
        dataset, model: keys of ``harness.datasets`` and ``harness.models``.
        metric: suffix of the benchmark's metric names, as in ``accuracy_mnist``.
        dataset_size: number of training examples; public, and checked against the data when they are loaded.
        batch_size: B.
        epochs: number of epochs of ``dataset_size // batch_size`` steps.
        learning_rate, momentum: of SGD; the rate follows a cosine over the epochs, stepped once an epoch.
        max_grad_norm: C.
        target_epsilon, target_delta: the claimed budget.
        cell, calibration: the default privacy question, and the accountant that sets sigma.
        seeds: what a full comparison runs.
    """

    name: str
    dataset: str
    model: str
    metric: str
    dataset_size: int
    batch_size: int
    epochs: int
    learning_rate: float = 0.1
    momentum: float = 0.9
    max_grad_norm: float = 1.0
    target_epsilon: float = 3.0
    target_delta: float = 1e-5
    cell: Cell = field(default_factory=Cell)
    calibration: Calibration = Calibration.PLD
    seeds: tuple[int, ...] = BENCHMARK_SEEDS


_MNIST_SIZE = 60_000
_CIFAR10_SIZE = 50_000
_AS_PUBLISHED = Cell(
    sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT, nonfinite=NonFinite.GUARDED
)


def _image_preset(name: str, dataset: str, *, as_published: bool) -> Preset:
    small = dataset != "cifar10"
    return Preset(
        name=name,
        dataset=dataset,
        model="MNISTNet" if small else "CIFAR10Net",
        metric=dataset,
        dataset_size=_MNIST_SIZE if small else _CIFAR10_SIZE,
        batch_size=256,
        epochs=5 if small else 30,
        cell=_AS_PUBLISHED if as_published else Cell(),
        calibration=Calibration.BENCHMARK if as_published else Calibration.PLD,
    )


_DIGITS = Preset(
    name="digits",
    dataset="digits",
    model="DigitsNet",
    metric="digits",
    dataset_size=1_437,
    batch_size=64,
    epochs=12,
)

PRESETS: dict[str, Preset] = {
    entry.name: entry
    for entry in (
        _DIGITS,
        *(_image_preset(dataset, dataset, as_published=False) for dataset in ("mnist", "fmnist", "cifar10")),
        *(
            _image_preset(f"benchmark-{dataset}", dataset, as_published=True)
            for dataset in ("mnist", "fmnist", "cifar10")
        ),
    )
}

DATASET_PRESETS: dict[str, str] = {"digits": "digits", "mnist": "mnist", "fmnist": "fmnist", "cifar10": "cifar10"}
"""The preset that trains a data set under a valid accountant."""


def seeds(count: int) -> tuple[int, ...]:
    """The seeds of ``count`` repeated runs: the benchmark's three, then 1,000, 1,001, ...

    Raises:
        UsageError: fewer than one.
    """
    if count < 1:
        raise UsageError(f"runs: expected at least 1, got {count!r}")
    return (*BENCHMARK_SEEDS, *range(1_000, 1_000 + count))[:count]


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: no such preset; the message names them all and the nearest.
    """
    if name in PRESETS:
        return PRESETS[name]
    nearest = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.4)
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise UsageError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}{hint}")
