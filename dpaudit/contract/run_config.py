"""RunConfig: the public facts of a training run, as the claim declares them."""

import math
from dataclasses import dataclass, field

from .cell import Cell
from .errors import UsageError
from .words import Calibration, Rows, Sampler


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Public facts of one training run.

    Attributes:
        dataset_size: N, public.
        batch_size: B, what the mechanism's constructor gets, and the divisor that it should use.
        expected_batch: rows that the sampler draws on average; equals B except under ``truncated_poisson``.
        epochs: number of epochs, counted from 1.
        steps_per_epoch: steps in each epoch; step numbers run from 0 over the whole run.
        max_grad_norm: C, the clipping bound that the constructor gets.
        target_epsilon, target_delta: the claimed budget.
        noise_multiplier: what the constructor gets; multiples of the sensitivity (dimensionless).
        cell: sampler, relation, rows, non-finite rule.
        calibration: the accountant that the claim rests on.
        parameter_shapes: shapes of the trained parameters, in the order in which the mechanism gets them.
        name: the preset's name, for reports.
        preparation: noise multipliers of the Gaussian releases of the whole training set that the harness makes before the
            first step and that count into epsilon.

    Raises:
        UsageError: a number is out of its range.
    """

    dataset_size: int
    batch_size: int
    expected_batch: float
    epochs: int
    steps_per_epoch: int
    max_grad_norm: float
    target_epsilon: float
    target_delta: float
    noise_multiplier: float
    cell: Cell = field(default_factory=Cell)
    calibration: Calibration = Calibration.PLD
    parameter_shapes: tuple[tuple[int, ...], ...] = ()
    name: str = "custom"
    preparation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("dataset_size", "batch_size", "epochs", "steps_per_epoch"):
            value = getattr(self, name)
            if not value >= 1:
                raise UsageError(f"run configuration: {name} must be at least 1, got {value!r}")
        for name in ("expected_batch", "max_grad_norm", "target_epsilon"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UsageError(f"run configuration: {name} must be positive and finite, got {value!r}")
        if not (self.noise_multiplier >= 0 and math.isfinite(self.noise_multiplier)):
            raise UsageError(
                f"run configuration: noise_multiplier must be >= 0 and finite, got {self.noise_multiplier!r}"
            )
        for multiplier in self.preparation:
            if not (multiplier > 0 and math.isfinite(multiplier)):
                raise UsageError(f"run configuration: preparation must be positive and finite, got {multiplier!r}")
        if self.preparation and self.calibration is Calibration.BENCHMARK:
            raise UsageError("run configuration: the benchmark's formula knows no preparation; calibrate by pld")
        if not 0 <= self.target_delta < 1:
            raise UsageError(f"run configuration: target_delta must lie in [0, 1), got {self.target_delta!r}")
        if not self.expected_batch <= self.dataset_size:
            raise UsageError(
                f"run configuration: expected_batch {self.expected_batch!r} exceeds dataset_size {self.dataset_size}"
            )
        if self.cell.sampler is Sampler.SHUFFLE and self.steps_per_epoch * self.batch_size > self.dataset_size:
            raise UsageError(
                f"run configuration: a shuffled epoch of {self.steps_per_epoch} steps of {self.batch_size} rows needs "
                f"more than the {self.dataset_size} examples; lower steps_per_epoch"
            )

    @property
    def total_steps(self) -> int:
        """T."""
        return self.epochs * self.steps_per_epoch

    @property
    def sampling_probability(self) -> float:
        """q, the probability that a given example is in a given batch (before truncation)."""
        return self.expected_batch / self.dataset_size

    @property
    def n_params(self) -> int:
        """Number of trained parameters."""
        return sum(math.prod(shape) for shape in self.parameter_shapes)

    @property
    def realised_rows(self) -> int | None:
        """Rows the mechanism always sees, or ``None`` where their number is random."""
        return self.batch_size if self.cell.rows is Rows.CONSTANT else None

    def epoch_of(self, step: int) -> int:
        """Epoch (from 1) of a global step (from 0)."""
        return step // self.steps_per_epoch + 1
