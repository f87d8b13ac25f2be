"""A run whose empty batches can be told from others: a lower end of epsilon for what that shows.

Notation: N examples, each drawn with probability q at each of T steps; sigma the noise multiplier. One pair (derived here): all
examples give zero rows, and the neighbour has one more that gives a row of norm one. Without it a batch is empty with
probability e0 = (1-q)^(N-1), with it e1 = (1-q)^N. Where an empty batch is seen to be one, a step shows which it was and, if it
was not, a Gaussian at 0 or, with probability q / (1 - e1) under the neighbour, at 1. The observed pair of a step is thus exactly

    neighbour   e1 * [empty]  +  (1 - e1) * mixture of N(0, sigma^2) and N(1, sigma^2) at rate q / (1 - e1)
    base        e0 * [empty]  +  (1 - e0) * N(0, sigma^2)

Cutting the Gaussian's axis into cells is post-processing and leaves a discrete pair, composed from below like that of shuffled
batches.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from dpaudit.contract import UsageError

from .composition import compose
from .discretise import Grid, loss_range, optimistic
from .privacy_curves import DiscreteCurve
from .steps import Steps

Floats = NDArray[np.float64]

_CELLS = 3000
_GRID_CELLS = 6000


def epsilon_with_visible_emptiness(
    *, sigma: float, sampling_probability: float, dataset_size: int, steps: int, visible: int, delta: float
) -> float:
    """Lower end of epsilon of ``steps`` steps of which ``visible`` show whether their batch was empty.

    Guarantee: at most the true epsilon of the pair above (add_remove, Poisson sampling), at double precision. Larger sigmas give
    smaller values, so the largest of a schedule serves for all of it.

    Raises:
        UsageError: a number is out of range.
    """
    q = sampling_probability
    valid = 0 < q < 1 and 0.05 <= sigma < math.inf and 0 <= visible <= steps and steps >= 1 and dataset_size >= 1
    if not (valid and 0 < delta < 1):
        raise UsageError(
            "visible emptiness: expected 0 < q < 1, a finite sigma of at least 0.05, 0 <= visible <= steps, N >= 1 and "
            f"0 < delta < 1, got {q!r}, {sigma!r}, {visible!r}, {steps!r}, {dataset_size!r}, {delta!r}"
        )
    shown, hidden = _step(sigma, q, dataset_size, visible=True), _step(sigma, q, dataset_size, visible=False)
    counted = [(curve, count) for curve, count in ((shown, visible), (hidden, steps - visible)) if count]
    ranges = np.array([loss_range(curve, delta * 1e-6 / steps) for curve, _ in counted])
    left, right = float(ranges[:, 0].max()), float(ranges[:, 1].max())
    width = (left + right) / _GRID_CELLS
    start = -width * max(math.ceil(left / width), 2)
    grid = Grid(start=start, step=width, size=math.ceil((right - start) / width) + 2)
    pairs = [optimistic(curve, grid) for curve, _ in counted]
    counts = np.array([count for _, count in counted], dtype=np.float64)
    together = Steps(
        grid=grid,
        masses=np.stack([pair.masses for pair in pairs]),
        counts=counts,
        infinity=0.0,
        minus_infinity=0.0,
        rounding=float(counts @ np.array([pair.rounding for pair in pairs])),
    )
    try:
        found = compose(together, math.log(delta)).epsilon(delta, pessimistic=False)
    except OverflowError:
        return 0.0
    return max(0.0, found) * (1 - 1e-8)


def _step(sigma: float, q: float, size: int, *, visible: bool) -> DiscreteCurve:
    """The pair (with the row, without) of one step; see the module."""
    log_without = (size - 1) * math.log1p(-q)
    without, beside = math.exp(log_without), math.exp(log_without + math.log1p(-q))
    edges = np.linspace(-9.5, 1 / sigma + 9.5, _CELLS)
    zero, one = (_cells(edges - shift) for shift in (0.0, 1 / sigma))
    if not visible:
        return DiscreteCurve.of((1 - q) * zero + q * one, zero)
    present = np.append((1 - q - beside) * zero + q * one, beside)
    return DiscreteCurve.of(present, np.append((1 - without) * zero, without))


def _cells(edges: Floats) -> Floats:
    """Standard normal mass between edges, the two ends included; never zero, by at most 1e-300."""
    below, above = ndtr(edges), ndtr(-edges)
    by_left, by_right = np.diff(below, prepend=0.0, append=1.0), -np.diff(above, prepend=1.0, append=0.0)
    return np.asarray(np.maximum(np.where(np.append(below, 1.0) < 0.5, by_left, by_right), 1e-300))
