"""EventTrace: what an accountant is told happened, step by step."""

import math
from dataclasses import dataclass

from .cell import Cell
from .errors import UsageError
from .run_config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTrace:
    """One Gaussian release per step, on rows drawn by the cell's sampler.

    Attributes:
        cell: which privacy question.
        sampling_probability: q.
        sigmas: noise multiplier of every step in run order (noise std over sensitivity, dimensionless).
        steps_per_epoch: how the steps fall into epochs; needed by ``shuffle`` only.
        batch_size: B; needed where rows are constant.
        dataset_size: N; needed by ``truncated_poisson`` and ``fixed_size``.

    Raises:
        UsageError: q outside (0, 1], no step, or a sigma that is negative or NaN. Sigma 0 and inf are allowed.
    """

    cell: Cell
    sampling_probability: float
    sigmas: tuple[float, ...]
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    dataset_size: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability <= 1:
            raise UsageError(f"event trace: q must lie in (0, 1], got {self.sampling_probability!r}")
        if not self.sigmas:
            raise UsageError("event trace: expected at least one step, got none")
        for step, sigma in enumerate(self.sigmas):
            if not sigma >= 0 or math.isnan(sigma):
                raise UsageError(f"event trace: sigma of step {step} must be a number >= 0, got {sigma!r}")

    @classmethod
    def of_run(cls, config: RunConfig, sigmas: tuple[float, ...]) -> "EventTrace":
        """The trace of a whole run under ``config`` with one sigma for every step.

        Raises:
            UsageError: the number of sigmas is not the number of steps.
        """
        if len(sigmas) != config.total_steps:
            raise UsageError(f"event trace: expected {config.total_steps} sigmas, one a step, got {len(sigmas)}")
        return cls(
            cell=config.cell,
            sampling_probability=config.sampling_probability,
            sigmas=sigmas,
            steps_per_epoch=config.steps_per_epoch,
            batch_size=config.batch_size,
            dataset_size=config.dataset_size,
        )

    def scaled(self, factor: float) -> "EventTrace":
        """The same steps with every sigma multiplied by ``factor``."""
        return EventTrace(
            cell=self.cell,
            sampling_probability=self.sampling_probability,
            sigmas=tuple(factor * sigma for sigma in self.sigmas),
            steps_per_epoch=self.steps_per_epoch,
            batch_size=self.batch_size,
            dataset_size=self.dataset_size,
        )
