"""Noise for a budget: the smallest sigma, or the smallest factor on a whole schedule, found on the gate's own upper
end.

The upper end of the result lies in [target (1 - 1e-3), target (1 - 2e-4)]. The gap of at least 2e-4 covers what the
accounting does not see, chiefly contributions that exceed the bound by float32 rounding (about 1e-6 relative, hence
about 3e-6 of epsilon).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from dpaudit.contract import AuditBrokenError, Bracket, Cell, EventTrace, UsageError

from .epsilon import epsilon_bracket, upper_end

TOLERANCE = 1e-3
"""Largest gap between target and upper end, relative to the target."""
MARGIN = 2e-4
"""Smallest such gap."""
_AIM = 1 - 4e-4
_LARGEST = 1e6
_SMALLEST = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationResult:
    """A noise multiplier whose upper end meets the target with a gap of ``MARGIN`` to ``tolerance``.

    Attributes:
        noise_multiplier: sigma, noise std over sensitivity.
        bracket: of the whole run at this sigma, in the cell.
        tolerance: relative to the target epsilon.
    """

    noise_multiplier: float
    bracket: Bracket
    tolerance: float


def calibrate_noise_multiplier(
    *,
    target_epsilon: float,
    delta: float,
    cell: Cell,
    sampling_probability: float,
    steps: int,
    steps_per_epoch: int | None = None,
    batch_size: int | None = None,
    dataset_size: int | None = None,
    preparation: tuple[float, ...] = (),
) -> CalibrationResult:
    """The constant sigma that spends the target in this cell, beside the releases of ``preparation``.

    Guarantee: ``result.bracket.upper <= target_epsilon * (1 - MARGIN)``. Errors: ``UsageError`` for a target that is
    not positive and finite, delta outside (0, 1) or no step; ``UnsupportedCellError``; ``AuditBrokenError`` if the
    search does not end.
    """
    _require_budget(target_epsilon, delta)
    if steps < 1:
        raise UsageError(f"calibrate: expected at least one step, got {steps!r}")

    def trace(sigma: float) -> EventTrace:
        return EventTrace(
            cell=cell,
            sampling_probability=sampling_probability,
            sigmas=(sigma,) * steps,
            steps_per_epoch=steps_per_epoch,
            batch_size=batch_size,
            dataset_size=dataset_size,
            preparation=preparation,
        )

    sigma = _smallest(lambda value: upper_end(trace(value), delta), target_epsilon, start=1.0)
    return CalibrationResult(noise_multiplier=sigma, bracket=epsilon_bracket(trace(sigma), delta), tolerance=TOLERANCE)


def honest_noise_factor(trace: EventTrace, target_epsilon: float, delta: float) -> float:
    """The factor on ALL sigmas of the steps with which the upper end meets the target; above 1 where it overspends.

    Solved through the whole schedule, never from one sigma. ``inf`` if a step has no noise at all (no factor mends
    it); the smallest factor tried, 1e-3, if even that meets the target. Errors: as :func:`calibrate_noise_multiplier`.
    """
    _require_budget(target_epsilon, delta)
    if 0 in trace.sigmas:
        return math.inf
    return _smallest(lambda factor: upper_end(trace.scaled(factor), delta), target_epsilon, start=1.0)


def _require_budget(target_epsilon: float, delta: float) -> None:
    if not (target_epsilon > 0 and math.isfinite(target_epsilon)):
        raise UsageError(f"calibrate: target epsilon must be positive and finite, got {target_epsilon!r}")
    if not 0 < delta < 1:
        raise UsageError(f"calibrate: delta must lie in (0, 1), got {delta!r}; no finite Gaussian noise gives delta 0")


def _smallest(cost: Callable[[float], float], target: float, *, start: float) -> float:
    """x with ``target (1 - TOLERANCE) <= cost(x) <= target (1 - MARGIN)``, cost decreasing: Illinois on log x, log
    cost.

    Where cost jumps over the window (a resolution limit) the side that meets the target is returned.
    """

    def gap(x: float) -> float:
        value = cost(x)
        if math.isinf(value):
            return 1e3
        return math.log(value / (target * _AIM)) if value > 0 else -1e3

    low = high = start
    gap_low = gap_high = gap(start)
    while gap_low <= 0 and low > _SMALLEST:
        high, gap_high = low, gap_low
        low = max(low / 2, _SMALLEST)
        gap_low = gap(low)
    while gap_high > 0 and high < _LARGEST:
        low, gap_low = high, gap_high
        high = min(high * 2, _LARGEST)
        gap_high = gap(high)
    if gap_low <= 0:
        return low
    if gap_high > 0:
        raise UsageError(f"calibrate: even a noise multiplier of {_LARGEST:g} does not meet epsilon {target!r}")
    floor, ceiling = math.log((1 - TOLERANCE) / _AIM), math.log((1 - MARGIN) / _AIM)
    weight_low = weight_high = 1.0
    for trial in range(100):
        for x, value in ((high, gap_high), (low, gap_low)):
            if floor <= value <= ceiling:
                return x
        if high / low < 1 + 1e-9:
            return high
        a, b = weight_low * min(gap_low, 5.0), weight_high * max(gap_high, -5.0)
        share = min(max(a / (a - b), 0.02), 0.98) if trial < 12 else 0.5
        middle = low * (high / low) ** share
        value = gap(middle)
        if value > 0:
            low, gap_low, weight_low, weight_high = middle, value, 1.0, weight_high / 2
        else:
            high, gap_high, weight_high, weight_low = middle, value, 1.0, weight_low / 2
    raise AuditBrokenError(f"calibrate: no convergence to epsilon {target!r} within 100 trials; report this setting")
