"""Composed privacy curves of schedules of sampled Gaussian steps, from above and from below.

From above: the pessimistic pair of every step, interpolated over the noise levels where there are many
(interpolation.py), or of the noise levels rounded down. From below: the optimistic pair of every step, noise levels
rounded up where there are many. A larger sigma is a post-processing (adding noise), so rounding sigma is sound in the
direction used.
"""

import math
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from .composed import Composed
from .composition import WindowError, compose
from .discretise import Grid, loss_range
from .step_family import StepFamily
from .step_rows import FEW, GROUPS, Schedule, rows_of, steps_of, thinned
from .steps import Steps

_TOLERANCE = 5e-5
"""Wanted overshoot of the pessimistic epsilon, relative, with few noise levels; ``_COARSE_TOLERANCE`` with many."""
_COARSE_TOLERANCE = 1.5e-4
_FIRST_CELLS = 128
_MAX_FLOATS = 1 << 24
_MAX_SETTLING = 1 << 16


def schedule_of(sigmas: tuple[float, ...]) -> Schedule:
    """The finite, positive sigmas with their counts. The order of steps does not matter to composition."""
    return tuple(sorted(Counter(sigma for sigma in sigmas if 0 < sigma < math.inf).items()))


@lru_cache(maxsize=12)
def compositions(
    family: StepFamily, schedule: Schedule, log_delta: float, *, from_above: bool, grid_log_delta: float | None = None
) -> tuple[Composed, ...]:
    """The composed curve in either direction (one, where the pair is its own mirror image), sharp near e^log_delta.

    ``grid_log_delta``: the delta that the grid is made for, if another.

    Raises:
        OverflowError: no affordable grid represents this schedule.
    """
    fine, theta = _grid(family, schedule, log_delta if grid_log_delta is None else grid_log_delta)
    coarsening = 1
    for _ in range(4):
        grid = _coarsened(family, fine, coarsening)
        try:
            forward = steps_of(family, schedule, grid, theta, from_above=from_above)
            if family.symmetric:
                return (compose(forward, log_delta),)
            return compose(forward, log_delta), compose(forward.reversed(), log_delta)
        except WindowError as error:
            coarsening *= math.ceil(1.2 * error.excess)
            if coarsening * 16 > fine.size:
                break
    raise OverflowError("sampled Gaussian: the losses of this schedule span more cells than the largest window")


@lru_cache(maxsize=32)
def _grid(family: StepFamily, schedule: Schedule, log_delta: float) -> tuple[Grid, float]:
    """A grid on which connecting the dots costs about the tolerance, and the saddle point.

    The cost is read from the moments of two coarse grids: an overshoot of K(theta) is one of theta * epsilon, and
    falls like h^2. Where epsilon lies below the bulk of the losses moments say little, and the grid is halved until
    the bound itself settles. Heuristic choice of a grid; both ends are rigorous on any grid.
    """
    total = sum(count for _, count in schedule)
    budget = math.exp(max(log_delta, -600.0)) * 1e-6 / total
    left, right = loss_range(family.curve(schedule[0][0]), budget)
    anchor = family.least_loss
    left = left if anchor is None else min(left, -anchor)
    few = len(schedule) <= FEW
    sample, tolerance = (schedule, _TOLERANCE) if few else (thinned(schedule), _COARSE_TOLERANCE)
    smallest = (right + left) * min(len(schedule), GROUPS) / _MAX_FLOATS

    def steps_at(step: float) -> Steps:
        start = anchor if anchor == -left else -step * max(math.ceil(left / step), 2)
        size = max(math.ceil((right - start) / step), math.ceil(-start / step) + 2) + 1
        return rows_of(family, sample, Grid(start=start, step=step, size=size), from_above=True)

    step = (right + left) / _FIRST_CELLS
    coarse = steps_at(step)
    for _ in range(16):
        fine = steps_at(step / 2)
        theta, epsilon = fine.saddle(log_delta)
        here = np.array([theta])
        overshoot = float((coarse.log_moments(here) - fine.log_moments(here))[0]) / theta / 3
        ratio = math.sqrt(tolerance * max(epsilon, 0.05 * fine.deviation()) / max(overshoot, 1e-300))
        if ratio > 0.2 or step / 2 <= smallest:
            best = fine if ratio >= 1 else steps_at(max(step / 2 * ratio, smallest))
            break
        step, coarse = (step / 2, fine) if ratio > 0.05 else (step * 4 * ratio, steps_at(step * 4 * ratio))
    else:
        best = fine
    return _settled(best, steps_at, log_delta, epsilon).grid, theta


def _settled(steps: Steps, steps_at: Callable[[float], Steps], log_delta: float, moment_epsilon: float) -> Steps:
    """Where epsilon is far below the moment bound: halve the grid until epsilon from above moves by little."""
    delta = math.exp(log_delta)
    try:
        before = compose(steps, log_delta).epsilon(delta, pessimistic=True)
        for _ in range(16):
            if before > 0.7 * moment_epsilon or steps.grid.size > _MAX_SETTLING:
                break
            finer = steps_at(steps.grid.step / 2)
            after = compose(finer, log_delta).epsilon(delta, pessimistic=True)
            if before - after <= _COARSE_TOLERANCE * after:
                break
            steps, before = finer, after
    except WindowError:
        pass
    return steps


def _coarsened(family: StepFamily, fine: Grid, coarsening: int) -> Grid:
    """The grid with cells ``coarsening`` times as wide, still anchored at the least loss or at 0."""
    step, start = fine.step * coarsening, fine.start
    if start != family.least_loss:
        start = -step * math.ceil(-start / step - 1e-9)
    reach = float(fine.losses[-1]) - start
    return Grid(start=start, step=step, size=max(math.ceil(reach / step), math.ceil(-start / step) + 2) + 1)
