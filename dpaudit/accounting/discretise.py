"""A curve as finitely many privacy losses on the grid j*h: from above (pessimistic) and from below (optimistic).

Notation: gamma = e^eps, f = H as a function of gamma (convex, between max(0, 1-gamma) and 1), knots gamma_j = e^(jh).
A convex piecewise linear g between the same limits, with knots on the grid, is the curve of a discrete pair: it puts
P-mass gamma_j (slope right of j - slope left of j) on the loss jh. Pairs whose curves are ordered stay ordered under
composition, also adaptive (Zhu, Dong and Wang 2022, arXiv 2106.08567, Theorem 10; Blackwell 1953), so g >= f bounds
epsilon from above and g <= f from below.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from .privacy_curves import PrivacyCurve

Floats = NDArray[np.float64]

LOSS_LIMIT = 690.0
"""Losses beyond this are not represented (e^709 overflows): at infinity from above, dropped to the limit from below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Losses ``start, start + step, ...``, ``size`` of them, on both sides of 0.

    Where losses are bounded below (RemoveCurve: by log(1-q), near which almost all the mass may lie) the grid is
    anchored there.
    """

    start: float
    step: float
    size: int

    @property
    def losses(self) -> Floats:
        return self.start + self.step * np.arange(self.size, dtype=np.float64)

    @property
    def pivot(self) -> int:
        """Index of the first knot at or above loss 0: excess is counted over 1-gamma left of it, over 0 right of it."""
        return max(1, math.ceil(-self.start / self.step))


@dataclass(frozen=True, slots=True, kw_only=True)
class LossMasses:
    """A discrete pair: P-mass on every loss of a grid.

    Attributes:
        masses: may hold rounding noise of either sign.
        at_infinity: P-mass where Q has none; at_minus_infinity: Q-mass where P has none.
        rounding: sup-norm distance of the curve that was meant from the curve that these floats are.
    """

    grid: Grid
    masses: Floats
    at_infinity: float
    at_minus_infinity: float
    rounding: float

    def reversed(self) -> "LossMasses":
        """The pair (Q, P): Q = e^-loss P, on the mirrored grid."""
        return LossMasses(
            grid=Grid(start=-float(self.grid.losses[-1]), step=self.grid.step, size=self.grid.size),
            masses=(self.masses * np.exp(-self.grid.losses))[::-1].copy(),
            at_infinity=self.at_minus_infinity,
            at_minus_infinity=self.at_infinity,
            rounding=self.rounding,
        )


def loss_range(curve: PrivacyCurve, budget: float) -> tuple[float, float]:
    """(left, right) > 0: beyond losses -left and right the excess of the mirror image and of ``curve`` is at most ``budget``."""
    right = _last_above(lambda eps: float(curve.excess(np.array([eps]))[0]), budget)
    left = _last_above(lambda eps: float(curve.excess(np.array([-eps]))[0]) * math.exp(eps), budget)
    return left, right


def _last_above(excess: Callable[[float], float], budget: float) -> float:
    low, high = 1e-12, LOSS_LIMIT
    if excess(high) > budget:
        return high
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if excess(middle) > budget else (low, middle)
    return high


def pessimistic(curve: PrivacyCurve, grid: Grid) -> LossMasses:
    """Connect the dots: g = f at every knot, straight between, 1 at gamma = 0 and constant beyond the last knot.

    Guarantee: g >= f by convexity. Source: Doroshenko et al. 2022 (arXiv 2207.04380), Algorithm 1. The second
    differences are taken of the excess, and the unit kink of the trivial curve is added exactly, so the floats are
    within ``rounding`` of g although each mass is a difference divided by h.
    """
    losses = grid.losses
    return _from_knots(curve.excess(losses), grid, 3e-14 * curve.scale)


def _from_knots(excess: Floats, grid: Grid, rounding: float) -> LossMasses:
    """Masses of the piecewise linear curve with this excess at the knots; last knot to infinity, first to gamma = 0."""
    gain = math.expm1(grid.step)
    rise = np.diff(excess)
    pivot_loss = float(grid.losses[grid.pivot])
    rise[grid.pivot - 1] += math.expm1(pivot_loss)  # the cell left of the pivot is counted over 1 - gamma throughout
    masses = np.empty(grid.size)
    masses[1:-1] = (rise[1:] - rise[:-1]) / gain - rise[:-1]
    masses[0] = rise[0] / gain - excess[0]
    masses[-1] = -rise[-1] / gain - rise[-1]
    masses[grid.pivot] += math.exp(pivot_loss)
    return LossMasses(
        grid=grid,
        masses=masses,
        at_infinity=float(excess[-1]),
        at_minus_infinity=float(excess[0] * math.exp(-grid.start)),
        rounding=rounding,
    )


def optimistic(curve: PrivacyCurve, grid: Grid) -> LossMasses:
    """The largest convex curve with knots on the grid under one tangent of f in every cell.

    Guarantee (derived here): g <= f. Proof: in every cell one straight line under f is chosen: a tangent of f, or
    beyond either end the trivial line 0 or 1-gamma. y_j is the smaller value at knot j of the lines of its two cells,
    never below max(0, 1-gamma_j). So the chord of y over a cell lies under that cell's line, hence under f, and the
    greatest convex minorant of y, whose vertices are knots, does too. Its slopes are the isotonic regression of the
    slopes of y with weights gamma_{j+1} - gamma_j, and the map is non-expansive in sup norm. The tangent touches at
    the middle of the cell, except in the two outermost cells, where it passes just above the trivial line at the outer
    knot (``_steepest``).

    The trivial curve is straight within a cell unless loss 0 lies inside it. If it does, and no tangent there lies above the
    trivial curve at both knots, no pair on this grid is below f; the pair is then one of the grid shifted to have a knot at 0,
    as ``pair.grid`` says. A grid that has one is never shifted.
    """
    middles = grid.losses[:-1] + grid.step / 2
    value, slope = _over_line(curve, middles, np.arange(len(middles)) < grid.pivot)
    at_right = value + slope * math.expm1(grid.step / 2)
    at_left = value + slope * math.expm1(-grid.step / 2)
    pivot = grid.pivot
    at_right[pivot - 1] -= math.expm1(float(grid.losses[pivot]))  # knot values are counted over max(0, 1 - gamma)
    # outwards from loss 0: the first cell whose tangent leaves the band, or has nothing left to touch
    out = (np.minimum(at_left, at_right) < 0) | (value <= 0)
    left_out, right_out = np.flatnonzero(out[:pivot]), np.flatnonzero(out[pivot:])
    start = int(left_out[-1]) if left_out.size else 0
    end = pivot + int(right_out[0]) if right_out.size else len(middles) - 1
    at_right[:start] = at_left[:start] = 0.0
    at_right[end + 1 :] = at_left[end + 1 :] = 0.0
    at_left[start], at_right[start] = 0.0, _steepest(curve, grid, start, outer=0)
    if start == pivot - 1 and grid.losses[start] < 0 < grid.losses[pivot] and not at_right[start] > 0:
        return optimistic(curve, Grid(start=-grid.step * pivot, step=grid.step, size=grid.size))
    at_left[end], at_right[end] = _steepest(curve, grid, end, outer=1), 0.0
    knots = np.zeros(grid.size)  # 0 at both ends: nothing is put at infinity
    knots[1:-1] = np.minimum(at_right[:-1], at_left[1:])
    hull = _convex_minorant(np.maximum(knots, 0.0), grid)
    return _from_knots(
        hull, grid, curve.scale * (3e-14 + 3e-16 * grid.size)
    )  # the sums of the regression add size * 2e-16


def _over_line(curve: PrivacyCurve, losses: Floats, falling: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """f, and its derivative by loss, over the line 1 - gamma where ``falling``, over the line 0 elsewhere."""
    value, slope = curve.excess(losses), curve.derivative(losses)  # over 1 - gamma for losses <= 0, over 0 beyond
    shift = falling.astype(np.float64) - (losses <= 0)
    return value + shift * np.expm1(losses), slope + shift * np.exp(losses)


def _steepest(curve: PrivacyCurve, grid: Grid, cell: int, outer: int) -> float:
    """Excess at the inner knot of a cell, of the best tangent found whose excess at the outer knot is not negative.

    The value of a tangent at the outer knot falls as the point of contact moves inwards, so rounds of trial points
    find it.
    """
    ends = grid.losses[cell : cell + 2]
    knot, inner, best = float(ends[outer]), float(ends[1 - outer]), 0.0
    offset = max(math.expm1(inner), 0.0) if outer == 0 else 0.0
    near, far = knot, inner
    for _ in range(4):
        points = near + (far - near) * np.arange(1, 18) / 17
        value, slope = _over_line(curve, points, np.full(points.shape, outer == 0))
        sound = value + slope * np.expm1(knot - points) >= 0
        if not sound.any():
            far = float(points[0])
            continue
        last = int(np.flatnonzero(sound)[-1])
        best = max(best, float(value[last] + slope[last] * math.expm1(inner - points[last])) - offset)
        near, far = float(points[last]), float(points[min(last + 1, len(points) - 1)])
    return best


def inner_anchor(curve: PrivacyCurve, kink: float, step: float) -> float:
    """A first knot for :func:`optimistic` just inside the least loss ``kink``: a contraction cannot put mass outside
    the losses.

    Of the tangents that touch f between the kink and one cell beyond, the one with the least gap, where it meets the
    trivial line and one cell on. Any value is sound.
    """
    points = kink + step * np.exp(np.linspace(math.log(1e-7), 0.0, 60))
    value, slope = _over_line(curve, points, np.ones(points.shape, dtype=np.bool_))
    usable = (slope > 0) & (value > 0)
    if not usable.any():
        return min(kink + 0.25 * step, 0.5 * kink)
    points, value, slope = points[usable], value[usable], slope[usable]
    meets = points + np.log1p(-np.minimum(value / slope, 0.5))
    falling = np.ones(points.shape, dtype=np.bool_)
    gap_here = _over_line(curve, meets, falling)[0]
    gap_next = _over_line(curve, meets + step, falling)[0] - (value + slope * np.expm1(meets + step - points))
    best = int(np.argmin(gap_here + np.abs(gap_next)))
    return float(min(max(meets[best], kink + 1e-9 * step), 0.5 * kink))


def _convex_minorant(excess: Floats, grid: Grid) -> Floats:
    """Greatest convex minorant of (trivial curve + excess), as an excess; each side of the pivot alone where that does."""
    masses = _from_knots(excess, grid, 0.0).masses
    if not (masses < 0).any():
        return excess
    pivot, losses = grid.pivot, grid.losses
    weights = np.exp(losses[:-1]) * math.expm1(grid.step)
    rise = np.diff(excess)
    lift = math.expm1(float(losses[pivot]))
    rise[pivot - 1] += lift
    slopes = rise / weights
    left = np.asarray(isotonic_regression(slopes[:pivot], weights=weights[:pivot]).x)
    right = np.asarray(isotonic_regression(slopes[pivot:], weights=weights[pivot:]).x)
    if left[-1] - 1 > right[0]:
        joined = np.concatenate([slopes[:pivot] - 1, slopes[pivot:]])
        joined = np.asarray(isotonic_regression(joined, weights=weights).x)
        left, right = joined[:pivot] + 1, joined[pivot:]
    hull = np.concatenate([[0.0], np.cumsum(left * weights[:pivot])])
    tail = np.concatenate([np.cumsum((-right * weights[pivot:])[::-1])[::-1], [0.0]])
    return np.asarray(np.minimum(excess, np.concatenate([hull[:-1], tail])))
