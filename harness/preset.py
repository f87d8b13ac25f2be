"""Preset: the settings of a training run under a name."""

from dataclasses import dataclass, field

from dpaudit.contract import Calibration, Cell

from .recipe import Recipe
from .scattering_settings import ScatteringSettings

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
        recipe: optimiser, schedule, averaging and augmentation.
        max_grad_norm: C.
        target_epsilon, target_delta: the claimed budget.
        cell, calibration: the default privacy question, and the accountant that sets sigma.
        seeds: what a full comparison runs.
        features: scattering features to train on in the place of images, or ``None``.
    """

    name: str
    dataset: str
    model: str
    metric: str
    dataset_size: int
    batch_size: int
    epochs: int
    max_grad_norm: float = 1.0
    target_epsilon: float = 3.0
    target_delta: float = 1e-5
    cell: Cell = field(default_factory=Cell)
    calibration: Calibration = Calibration.PLD
    seeds: tuple[int, ...] = BENCHMARK_SEEDS
    recipe: Recipe = field(default_factory=Recipe)
    features: ScatteringSettings | None = None
