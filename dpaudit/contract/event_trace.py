"""EventTrace: what an accountant is told happened, step by step."""

import math
from dataclasses import dataclass, replace

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
        preparation: noise multipliers of Gaussian releases of the WHOLE data set before the first step, such as a private
            mean; noise std over the norm that one row contributes at most (dimensionless).

    Raises:
        UsageError: q outside (0, 1], no step, a sigma that is negative or NaN, or a multiplier of the preparation that is not
            positive and finite. Sigma 0 and inf are allowed.
    """

    cell: Cell
    sampling_probability: float
    sigmas: tuple[float, ...]
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    dataset_size: int | None = None
    preparation: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.sampling_probability <= 1:
            raise UsageError(f"event trace: q must lie in (0, 1], got {self.sampling_probability!r}")
        if not self.sigmas:
            raise UsageError("event trace: expected at least one step, got none")
        for step, sigma in enumerate(self.sigmas):
            if not sigma >= 0 or math.isnan(sigma):
                raise UsageError(f"event trace: sigma of step {step} must be a number >= 0, got {sigma!r}")
        for multiplier in self.preparation:
            if not (multiplier > 0 and math.isfinite(multiplier)):
                raise UsageError(f"event trace: preparation must be positive and finite, got {multiplier!r}")

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
            preparation=config.preparation,
        )

    def scaled(self, factor: float) -> "EventTrace":
        """The same steps with every sigma multiplied by ``factor``. The preparation, which no mechanism noises, stays."""
        return replace(self, sigmas=tuple(factor * sigma for sigma in self.sigmas))

    def without_preparation(self) -> "EventTrace":
        """The steps alone: all that a test can see which is shown released gradients and nothing from before them."""
        return replace(self, preparation=())
