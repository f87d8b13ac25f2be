"""Releases of the whole data set before training, composed with the steps.

Notation: H_G the curve of the releases together, a Gaussian of mean mu; delta_T(eps) the curve of all steps in one
direction; l_k, p_k the losses and P-masses of a discrete pair for H_G. The composition has delta(eps) = E[delta_T(eps -
L)] with L the loss of the releases under P, so a pair from above and bounds on delta_T from above bound it from above,
and likewise from below (composition keeps the order of curves: Zhu, Dong and Wang 2022, arXiv 2106.08567, Theorem 10).

Rounding of the p_k moves delta by E_P[(H_G - its floats)(eps - S)], at most the sup norm ``rounding``. Masses that rounding
made negative count as 0 from above and with delta_T = 1 from below.
"""

import math

import numpy as np

from .composed import Composed
from .discretise import LOSS_LIMIT, Grid, LossMasses, loss_range, optimistic, pessimistic
from .privacy_curves import RemoveCurve

_CELLS = 2048
"""Knots over the losses of the releases; connecting the dots then costs about 1e-6 of their variance."""
_BISECTIONS = 60


def prepared_epsilon(curves: tuple[Composed, ...], mu: float, delta: float, *, from_above: bool) -> float:
    """Epsilon of releases with mean ``mu`` and the steps behind ``curves``, in the worse direction.

    Args:
        curves: the composed steps in either direction; one, where both are the same.
        mu: of the releases together, the root of the sum of their squared (reach over noise multiplier), above 0.

    Returns:
        An upper bound (``inf`` where none was found), or a lower bound (0 where none was), as ``from_above`` says. A
        Gaussian pair is its own mirror image, so one discretisation serves both directions.
    """
    gaussian = RemoveCurve(q=1.0, mu=mu)
    left, right = loss_range(gaussian, delta * 1e-7)
    step = (left + right) / _CELLS
    cells = math.ceil(left / step) + 1
    grid = Grid(start=-step * cells, step=step, size=cells + math.ceil(right / step) + 2)
    pair = pessimistic(gaussian, grid) if from_above else optimistic(gaussian, grid)
    return max(_epsilon(curve, pair, delta, from_above=from_above) for curve in curves)


def _epsilon(steps: Composed, releases: LossMasses, delta: float, *, from_above: bool) -> float:
    """The smallest epsilon found whose bound from above is at most ``delta``, or the largest whose bound from below exceeds
    it. Delta falls with epsilon, so one epsilon proves the end; the search needs no more than that the bound roughly does."""
    losses, masses = releases.grid.losses, releases.masses
    kept, lost = np.maximum(masses, 0.0), float(np.maximum(-masses, 0.0).sum())

    def exceeds(epsilon: float) -> bool:
        weighted = float(kept @ steps.deltas(epsilon - losses, pessimistic=from_above))
        if from_above:
            return not weighted + releases.at_infinity + releases.rounding <= delta
        return weighted - lost - releases.rounding > delta

    low, high = 0.0, 1.0
    if not exceeds(low):
        return 0.0
    while exceeds(high):
        low, high = high, 2 * high
        if high > LOSS_LIMIT:
            return math.inf if from_above else low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return high if from_above else low
