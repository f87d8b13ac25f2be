"""The discrete pairs of the steps of a schedule: every level built, levels grouped, or levels interpolated."""

import numpy as np
from numpy.typing import NDArray

from .discretise import Grid, LossMasses, inner_anchor, optimistic, pessimistic
from .interpolation import Piece, pieces
from .step_family import StepFamily
from .steps import Steps

Floats = NDArray[np.float64]
Schedule = tuple[tuple[float, int], ...]
"""(sigma, count), sigma ascending, 0 < sigma < inf."""

FEW = 24
"""So many levels are always built one by one; so many stand for a schedule where a grid is chosen."""
GROUPS = 384
"""Most levels that are built."""
_ENVELOPE = 48
_MAX_INTERPOLATED = 16384
_NOISE = 1e-9
"""Wanted total of interpolation errors, relative to the tilted mass."""


def steps_of(family: StepFamily, schedule: Schedule, grid: Grid, theta: float, *, from_above: bool) -> Steps:
    if len(schedule) > FEW and from_above and family.interpolates:
        interpolated = _interpolated(family, schedule, grid, theta)
        if interpolated is not None:
            return interpolated
    if len(schedule) > GROUPS:
        importance = _importance(family, schedule, grid, theta)
        schedule = thinned(schedule, GROUPS, from_above=from_above, importance=importance)
    return rows_of(family, schedule, grid, from_above=from_above)


def thinned(
    schedule: Schedule, groups: int = FEW, *, from_above: bool = True, importance: Floats | None = None
) -> Schedule:
    """At most ``groups`` levels: each group at its smallest sigma (from above) or its largest.

    Groups are equally wide in log sigma, or, given the ``importance`` of every level (its share of the cost), such that
    the sum of importance times width is least: density of groups proportional to the root of the density of importance.
    """
    sigmas = np.array([sigma for sigma, _ in schedule])
    counts = np.array([count for _, count in schedule])
    widths = np.gradient(np.log(sigmas))
    position = np.cumsum(widths if importance is None else np.sqrt(importance * widths))
    group = np.minimum((position / position[-1] * groups).astype(np.int64), groups - 1)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    ends = np.append(starts[1:], len(sigmas)) - 1
    chosen, sums = sigmas[starts if from_above else ends], np.add.reduceat(counts, starts)
    return tuple((float(sigma), int(count)) for sigma, count in zip(chosen, sums, strict=True))


def _importance(family: StepFamily, schedule: Schedule, grid: Grid, theta: float) -> Floats:
    """About how much of K(theta) each level contributes, from a few levels. Only places groups."""
    sample = thinned(schedule)
    rows = rows_of(family, tuple((sigma, 1) for sigma, _ in sample), grid, from_above=True)
    costs = np.maximum(rows.row_log_moments(theta), 1e-300)
    levels = np.log([sigma for sigma, _ in schedule])
    found = np.interp(levels, np.log([sigma for sigma, _ in sample]), np.log(costs))
    return np.asarray(np.exp(found) * [count for _, count in schedule])


def rows_of(family: StepFamily, schedule: Schedule, grid: Grid, *, from_above: bool) -> Steps:
    """One pair for each level. From below each has its own first knot, if losses are bounded below (``inner_anchor``)."""
    curves = [family.curve(sigma) for sigma, _ in schedule]
    counts = np.array([count for _, count in schedule], dtype=np.float64)
    shifts = None
    if from_above:
        pairs: list[LossMasses] = [pessimistic(curve, grid) for curve in curves]
    elif grid.start != family.least_loss:
        pairs = [optimistic(curve, grid) for curve in curves]
    else:
        starts = [inner_anchor(curve, grid.start, grid.step) for curve in curves]
        pairs = [
            optimistic(curve, Grid(start=start, step=grid.step, size=grid.size))
            for curve, start in zip(curves, starts, strict=True)
        ]
        shifts = np.array([pair.grid.start for pair in pairs]) - grid.start
    return Steps(
        grid=grid,
        masses=np.stack([pair.masses for pair in pairs]),
        counts=counts,
        infinity=_any_of(np.array([pair.at_infinity for pair in pairs]), counts),
        minus_infinity=_any_of(np.array([pair.at_minus_infinity for pair in pairs]), counts),
        rounding=float(counts @ np.array([pair.rounding for pair in pairs])),
        shifts=shifts,
    )


def _any_of(chances: Floats, counts: Floats) -> float:
    return max(float(-np.expm1(counts @ np.log1p(-np.clip(chances, 0.0, 1 - 1e-16)))), 0.0)


def _interpolated(family: StepFamily, schedule: Schedule, grid: Grid, theta: float) -> Steps | None:
    """Pessimistic pairs of all levels as combinations of those at Chebyshev nodes; ``None`` where that saves nothing."""
    if len(schedule) > _MAX_INTERPOLATED:
        schedule = thinned(schedule, _MAX_INTERPOLATED)
    counts = np.array([count for _, count in schedule[::-1]], dtype=np.float64)
    mus = np.array([family.mu(sigma) for sigma, _ in schedule[::-1]])
    total = float(counts.sum())
    stride = max(grid.size // 400, 1)
    near = np.abs(np.arange(grid.size) - grid.pivot) < 200  # where a large sigma has all its structure
    chosen = near | (np.arange(grid.size) % stride == 0)
    sample = grid.losses[chosen]
    tilt = np.exp(np.minimum(theta * sample, 300.0)) * np.where(near[chosen], 1, stride)

    def affordable(piece: Piece) -> bool:
        with np.errstate(over="ignore"):
            moved = float(tilt @ family.interpolation_error(piece, sample)) * 4 / grid.step
            return moved * total <= _NOISE

    parts = pieces(mus, affordable)
    if sum(len(part.points) for part in parts) >= min(len(mus), GROUPS):
        return None
    nodes = np.concatenate([part.nodes for part in parts])
    weights = np.zeros((len(mus), len(nodes)))
    row = 0
    for index, part in enumerate(parts):
        members = int(np.sum(mus[row:] <= part.high))
        columns = slice(index * len(part.points), (index + 1) * len(part.points))
        weights[row : row + members, columns] = part.weights(mus[row : row + members])
        row += members
    at_nodes = rows_of(family, tuple((family.sigma(mu), 1) for mu in nodes), grid, from_above=True)
    envelope = rows_of(family, thinned(schedule, _ENVELOPE), grid, from_above=True)
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
