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
from numpy.typing import NDArray

from .composition import Composed, Steps, compose
from .discretise import Grid, LossMasses, inner_anchor, loss_range, optimistic, pessimistic
from .interpolation import Piece, pieces
from .step_family import StepFamily

Floats = NDArray[np.float64]
Schedule = tuple[tuple[float, int], ...]
"""(sigma, count), sigma ascending, 0 < sigma < inf."""

DISCRETISATION_TOLERANCE = 1.5e-4
"""Wanted overshoot of the pessimistic epsilon, relative."""
_DIRECT = 24
_GROUPS = 256
_ENVELOPE = 48
_MAX_INTERPOLATED = 16384
_FIRST_CELLS = 128
_MAX_FLOATS = 1 << 24
_MAX_SETTLING = 1 << 16
_NOISE = 1e-9
"""Wanted total of interpolation errors, relative to the tilted mass."""


def schedule_of(sigmas: tuple[float, ...]) -> Schedule:
    """The finite, positive sigmas with their counts. The order of steps does not matter to composition."""
    return tuple(sorted(Counter(sigma for sigma in sigmas if 0 < sigma < math.inf).items()))


@lru_cache(maxsize=32)
def compositions(
    family: StepFamily, schedule: Schedule, log_delta: float, *, from_above: bool, grid_log_delta: float | None = None
) -> tuple[Composed, ...]:
    """The composed curve in either direction (one, where the pair is its own mirror image), sharp near e^log_delta.

    ``grid_log_delta``: the delta that the grid is made for, if another.

    Raises:
        OverflowError: no affordable grid represents this schedule.
    """
    fine, theta = _grid(family, schedule, log_delta if grid_log_delta is None else grid_log_delta)
    for coarsening in (1, 4, 16, 64, 256):
        grid = _anchored(family, schedule, fine, coarsening, from_above=from_above)
        try:
            forward = _steps(family, schedule, grid, theta, from_above=from_above)
            if family.symmetric:
                return (compose(forward, log_delta),)
            return compose(forward, log_delta), compose(_reversed(forward), log_delta)
        except OverflowError:
            continue
    raise OverflowError("sampled Gaussian: the losses of this schedule span more cells than the largest window")


@lru_cache(maxsize=32)
def _grid(family: StepFamily, schedule: Schedule, log_delta: float) -> tuple[Grid, float]:
    """A grid on which connecting the dots costs about ``DISCRETISATION_TOLERANCE`` of epsilon, and the saddle point.

    The cost is read from the moments of two coarse grids: an overshoot of K(theta) is one of theta * epsilon, and
    falls like h^2. Where epsilon lies below the bulk of the losses moments say little, and the grid is halved until
    the bound itself settles. Heuristic choice of a grid; both ends are rigorous on any grid.
    """
    total = sum(count for _, count in schedule)
    budget = math.exp(max(log_delta, -600.0)) * 1e-6 / total
    left, right = loss_range(family.curve(schedule[0][0]), budget)
    anchor = family.least_loss
    left = left if anchor is None else min(left, -anchor)
    sample = schedule if len(schedule) <= _DIRECT else _thinned(schedule)
    smallest = (right + left) * len(sample) / _MAX_FLOATS

    def steps_at(step: float) -> Steps:
        start = anchor if anchor == -left else -step * max(math.ceil(left / step), 2)
        size = max(math.ceil((right - start) / step), math.ceil(-start / step) + 2) + 1
        return _rows(family, sample, Grid(start=start, step=step, size=size), from_above=True)

    step = (right + left) / _FIRST_CELLS
    coarse = steps_at(step)
    for _ in range(16):
        fine = steps_at(step / 2)
        theta, epsilon = fine.saddle(log_delta)
        here = np.array([theta])
        overshoot = float((coarse.log_moments(here) - fine.log_moments(here))[0]) / theta / 3
        ratio = math.sqrt(DISCRETISATION_TOLERANCE * max(epsilon, 0.05 * fine.deviation()) / max(overshoot, 1e-300))
        if ratio > 0.2 or step / 2 <= smallest:
            best = fine if ratio >= 1 else steps_at(max(step / 2 * ratio, smallest))
            break
        step, coarse = (step / 2, fine) if ratio > 0.05 else (step * 4 * ratio, steps_at(step * 4 * ratio))
    else:
        best = fine
    return _settled(best, steps_at, log_delta, epsilon).grid, theta


def _settled(steps: Steps, steps_at: Callable[[float], Steps], log_delta: float, moment_epsilon: float) -> Steps:
    """Where epsilon is far below the moment bound: halve the grid until epsilon from above moves by less than the tolerance."""
    delta = math.exp(log_delta)
    try:
        before = compose(steps, log_delta).epsilon(delta, pessimistic=True)
        for _ in range(16):
            if before > 0.7 * moment_epsilon or steps.grid.size > _MAX_SETTLING:
                break
            finer = steps_at(steps.grid.step / 2)
            after = compose(finer, log_delta).epsilon(delta, pessimistic=True)
            if before - after <= DISCRETISATION_TOLERANCE * after:
                break
            steps, before = finer, after
    except OverflowError:
        pass
    return steps


def _anchored(family: StepFamily, schedule: Schedule, fine: Grid, coarsening: int, *, from_above: bool) -> Grid:
    """The grid for one end: anchored at the least loss, from below a little inside it (``inner_anchor``)."""
    step, start = fine.step * coarsening, fine.start
    if start != family.least_loss:
        start = -step * math.ceil(-start / step - 1e-9)
    elif not from_above:
        start = inner_anchor(family.curve(schedule[len(schedule) // 2][0]), start, step)
    reach = float(fine.losses[-1]) - start
    return Grid(start=start, step=step, size=max(math.ceil(reach / step), math.ceil(-start / step) + 2) + 1)


def _thinned(schedule: Schedule, groups: int = _DIRECT, *, from_above: bool = True) -> Schedule:
    """At most ``groups`` levels, equally spaced in log sigma: each group at its smallest sigma (from above) or its largest."""
    sigmas = np.array([sigma for sigma, _ in schedule])
    counts = np.array([count for _, count in schedule])
    position = np.log(sigmas / sigmas[0]) / math.log(sigmas[-1] / sigmas[0])
    group = np.minimum((position * groups).astype(np.int64), groups - 1)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    ends = np.append(starts[1:], len(sigmas)) - 1
    chosen, sums = sigmas[starts if from_above else ends], np.add.reduceat(counts, starts)
    return tuple((float(sigma), int(count)) for sigma, count in zip(chosen, sums, strict=True))


def _steps(family: StepFamily, schedule: Schedule, grid: Grid, theta: float, *, from_above: bool) -> Steps:
    if len(schedule) > _DIRECT and from_above and family.interpolates:
        return _interpolated(family, schedule, grid, theta)
    if len(schedule) > _GROUPS:
        schedule = _thinned(schedule, _GROUPS, from_above=from_above)
    return _rows(family, schedule, grid, from_above=from_above)


def _rows(family: StepFamily, schedule: Schedule, grid: Grid, *, from_above: bool) -> Steps:
    """One pair for each level."""
    build = pessimistic if from_above else optimistic
    pairs: list[LossMasses] = [build(family.curve(sigma), grid) for sigma, _ in schedule]
    counts = np.array([count for _, count in schedule], dtype=np.float64)
    return Steps(
        grid=grid,
        masses=np.stack([pair.masses for pair in pairs]),
        counts=counts,
        infinity=_any_of(np.array([pair.at_infinity for pair in pairs]), counts),
        minus_infinity=_any_of(np.array([pair.at_minus_infinity for pair in pairs]), counts),
        rounding=float(counts @ np.array([pair.rounding for pair in pairs])),
    )


def _any_of(chances: Floats, counts: Floats) -> float:
    return max(float(-np.expm1(counts @ np.log1p(-np.clip(chances, 0.0, 1 - 1e-16)))), 0.0)


def _interpolated(family: StepFamily, schedule: Schedule, grid: Grid, theta: float) -> Steps:
    """Pessimistic pairs of all levels as combinations of those at Chebyshev nodes."""
    if len(schedule) > _MAX_INTERPOLATED:
        schedule = _thinned(schedule, _MAX_INTERPOLATED)
    counts = np.array([count for _, count in schedule[::-1]], dtype=np.float64)
    mus = np.array([family.mu(sigma) for sigma, _ in schedule[::-1]])
    total = float(counts.sum())
    stride = max(grid.size // 400, 1)
    sample = grid.losses[::stride]
    tilt = np.exp(theta * sample) * stride

    def affordable(piece: Piece) -> bool:
        moved = float(tilt @ family.interpolation_error(piece, sample)) * 4 / grid.step
        return moved * total <= _NOISE

    parts = pieces(mus, affordable)
    nodes = np.concatenate([part.nodes for part in parts])
    weights = np.zeros((len(mus), len(nodes)))
    row = 0
    for index, part in enumerate(parts):
        members = int(np.sum(mus[row:] <= part.high))
        columns = slice(index * len(part.points), (index + 1) * len(part.points))
        weights[row : row + members, columns] = part.weights(mus[row : row + members])
        row += members
    at_nodes = _rows(family, tuple((family.sigma(mu), 1) for mu in nodes), grid, from_above=True)
    envelope = _rows(family, _thinned(schedule, _ENVELOPE), grid, from_above=True)
    lebesgue = float(np.abs(weights).sum(axis=1).max())
    return Steps(
        grid=grid,
        masses=at_nodes.masses,
        counts=counts,
        weights=weights,
        infinity=envelope.infinity,
        minus_infinity=envelope.minus_infinity,
        rounding=at_nodes.rounding / len(nodes) * lebesgue * total,
        curve_error=np.max([family.interpolation_error(part, grid.losses) for part in parts], axis=0),
        envelope=envelope,
    )


def _reversed(steps: Steps) -> Steps:
    """The steps of the reversed pairs (Q, P): Q = e^-loss P on the mirrored grid."""
    losses = steps.grid.losses
    shrink = np.exp(-losses)
    return Steps(
        grid=Grid(start=-float(losses[-1]), step=steps.grid.step, size=steps.grid.size),
        masses=(steps.masses * shrink)[:, ::-1].copy(),
        counts=steps.counts,
        weights=steps.weights,
        infinity=steps.minus_infinity,
        minus_infinity=steps.infinity,
        rounding=steps.rounding,
        curve_error=None if steps.curve_error is None else (steps.curve_error * shrink)[::-1].copy(),
        envelope=None if steps.envelope is None else _reversed(steps.envelope),
    )
