"""Batches from a fresh permutation an epoch: every row is used once an epoch, at a slot that nobody tells.

Upper end (derived here). Reveal the slot: its law is the same for both neighbours, so this only helps the observer,
and given the slots the row is released once an epoch by a Gaussian with the sigma of that slot. The worst slots are
those of the smallest sigma of each epoch; the composition is one Gaussian with mu^2 = sum over epochs of (reach / min
sigma)^2. reach = 1 under zero_out (the row's slot shows u or 0) and 2 under replace_one (u or v, up to 2 S apart).
Dropping the rows that do not fill a batch only helps.

Lower end (derived here, of the kind of Chua et al. 2024, arXiv 2403.17673, whose pair is the same). All other rows
give zero; the row gives S along one coordinate, at a uniform slot of the T0 of an epoch, with probability rho = min(1,
T0 q) (a dropped row takes no part). Let v_t be that coordinate over the noise std of step t: N(0,1) without the row,
N(1/sigma_t, 1) at its slot. The statistic m = max_t v_t is post-processing of the release, and with Phi^T0 computed
exactly
    absent  P(m <= x) = Phi(x)^T0,   present  P(m <= x) = (1 - rho) Phi(x)^T0 + rho mean_t Phi(x - 1/sigma_t)
    Phi(x)^(T0-1).
Cutting m into cells is post-processing too and leaves a discrete pair, composed over epochs from below. It is a
special pair of replace_one, where a row is replaced by one with zero gradient.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr

from dpaudit.contract import Bracket, EventTrace, Relation, UsageError

from .composition import compose
from .discretise import Grid, loss_range, optimistic
from .gaussian_curve import gaussian_epsilon
from .privacy_curves import DiscreteCurve
from .steps import Steps

Floats = NDArray[np.float64]
Epoch = tuple[float, ...]

_CELLS = 3000
_GRID_CELLS = 6000
_QUIETEST = 0.05
"""Steps with less noise than this, and without any, are treated as having this much: more noise only lowers the lower end."""


def shuffled_bracket(trace: EventTrace, delta: float) -> Bracket:
    """The bracket of a shuffle cell; see the module for both ends."""
    epochs = _epochs(trace)
    smallest = [min(epoch) for epoch in epochs]
    if delta >= 1 or all(math.isinf(sigma) for sigma in smallest):
        return Bracket(lower=0.0, upper=0.0, lower_method="nothing is spent", upper_method="nothing is spent")
    reach = 2.0 if trace.cell.relation is Relation.REPLACE_ONE else 1.0
    mu = math.inf if min(smallest) == 0 else reach * math.sqrt(math.fsum(sigma**-2 for sigma in smallest))
    return Bracket(
        lower=_lower(epochs, trace.sampling_probability, delta),
        upper=gaussian_epsilon(mu, delta)[1],
        lower_method="largest coordinate of each epoch, one row beside zero rows, optimistic composition",
        upper_method=f"one Gaussian an epoch at its smallest sigma, reach {reach:g}",
    )


def _epochs(trace: EventTrace) -> list[Epoch]:
    """The sigmas of each epoch; the last may be cut short.

    Errors: ``UsageError`` where the trace does not say how its steps fall into epochs.
    """
    size = trace.steps_per_epoch
    if size is None or size < 1:
        raise UsageError(
            f"event trace: shuffle needs steps_per_epoch >= 1, got {size!r}; set it to the steps of one epoch"
        )
    return [trace.sigmas[start : start + size] for start in range(0, len(trace.sigmas), size)]


def _lower(epochs: Sequence[Epoch], q: float, delta: float) -> float:
    exposed = -math.expm1(math.fsum(math.log1p(-min(q * epoch.count(0.0), 1 - 1e-16)) for epoch in epochs))
    if exposed > delta:
        return math.inf
    if delta == 0:
        return math.inf  # Gaussian losses are unbounded
    counted = Counter(tuple(sorted(epoch)) for epoch in epochs)
    curves = [largest_coordinate_curve(epoch, q) for epoch in counted]
    counts = np.array(list(counted.values()), dtype=np.float64)
    budget = delta * 1e-6 / len(epochs)
    ranges = np.array([loss_range(curve, budget) for curve in curves])
    left, right = float(ranges[:, 0].max()), float(ranges[:, 1].max())
    step = (left + right) / _GRID_CELLS
    start = -step * max(math.ceil(left / step), 2)
    grid = Grid(start=start, step=step, size=math.ceil((right - start) / step) + 2)
    pairs = [optimistic(curve, grid) for curve in curves]
    best = 0.0
    for mirrored in (False, True):
        directed = [pair.reversed() for pair in pairs] if mirrored else pairs
        steps = Steps(
            grid=directed[0].grid,
            masses=np.stack([pair.masses for pair in directed]),
            counts=counts,
            infinity=0.0,
            minus_infinity=0.0,
            rounding=float(counts @ np.array([pair.rounding for pair in directed])),
        )
        try:
            best = max(best, compose(steps, math.log(delta)).epsilon(delta, pessimistic=False))
        except OverflowError:
            continue
    return best * (1 - 1e-8)


def largest_coordinate_curve(epoch: Epoch, q: float) -> DiscreteCurve:
    """The pair (present, absent) of the largest coordinate of one epoch, cut into cells. See the module."""
    slots = len(epoch)
    present_chance = min(1.0, slots * q)
    levels = Counter(max(sigma, _QUIETEST) for sigma in epoch)
    shifts = np.array([1 / sigma for sigma in levels])
    shares = np.array([count / slots for count in levels.values()])
    edges = np.linspace(-2.0, float(shifts.max()) + 9.5, _CELLS)
    log_absent = slots * log_ndtr(edges)
    log_present = log_ndtr(edges[:, None] - shifts) + (slots - 1) * log_ndtr(edges)[:, None]
    cells = np.stack(
        [
            present_chance * _between(log_present, shares)
            + (1 - present_chance) * _between(log_absent[:, None], np.ones(1)),
            _between(log_absent[:, None], np.ones(1)),
        ]
    )
    lost: NDArray[np.bool_] = np.any(cells <= 1e-290, axis=0)
    lost[0] = False  # cells that underflow are merged with the first, which is post-processing too
    cells[:, 0] += cells[:, lost].sum(axis=1)
    kept = np.maximum(cells[:, ~lost], 1e-300)
    return DiscreteCurve.of(kept[0], kept[1])


def _between(log_below: Floats, shares: Floats) -> Floats:
    """Mass of every cell from log P(m <= edge) [edges, k], mixed by ``shares``: differences of the smaller tail of the two."""
    below = np.exp(log_below) @ shares
    beyond = -np.expm1(log_below) @ shares
    by_left = np.diff(below, prepend=0.0, append=1.0)
    by_right = -np.diff(beyond, prepend=1.0, append=0.0)
    left_half = np.append(below, 1.0) < 0.5
    return np.asarray(np.where(left_half, by_left, by_right))
