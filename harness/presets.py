"""Presets: the settings of a training run, and the RunConfig that each declares. No data is loaded here.

``digits`` trains in seconds anywhere. ``mnist``, ``fmnist`` and ``cifar10`` use the benchmark's settings with a valid
accountant and the sampler that it assumes. ``benchmark-*`` repeat the published runs as they really were: shuffled
batches, and the benchmark's own formula for sigma, which is invalid and kept in order to be refuted. ``paper-*`` are the
systems of :mod:`harness.paper_presets`, ``scatter-*`` the linear models of :mod:`harness.scattering_presets`.
"""

import difflib

from dpaudit.contract import Calibration, Cell, NonFinite, Relation, Rows, Sampler, UsageError

from .paper_presets import PAPER_PRESETS
from .preset import BENCHMARK_SEEDS, Preset
from .scattering_presets import SCATTER_PRESETS

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
        *SCATTER_PRESETS,
        *PAPER_PRESETS,
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
