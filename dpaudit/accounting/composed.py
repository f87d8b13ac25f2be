"""Composed: delta(eps) of a composition, as values with a bound on their error, and epsilon read from it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """delta(eps) of a composition at the knots of a window, as a computed value and a bound on its error.

    Attributes:
        losses: [w] increasing knots.
        above: [w] P-mass of losses beyond the knot; ``above_q`` the Q-mass of them times e^reference.
        error: [w] bound on the error of delta at and right of the knot, infinite mass excluded.
        infinity: P-mass at infinite loss, to be added for an upper bound.
    """

    losses: Floats
    above: Floats
    above_q: Floats
    reference: float
    error: Floats
    infinity: float

    def deltas(self, epsilons: Floats, *, pessimistic: bool) -> Floats:
        """A bound on delta at every epsilon, clipped to [0, 1]; the trivial bound left of the window."""
        cell = np.searchsorted(self.losses, epsilons, side="right") - 1
        inside = np.maximum(cell, 0)
        value = self.above[inside] - np.exp(np.minimum(epsilons - self.reference, 700.0)) * self.above_q[inside]
        if pessimistic:
            bound = np.where(cell >= 0, value + self.error[inside] + self.infinity, 1.0)
        else:
            bound = np.where(cell >= 0, value - self.error[inside], 0.0)
        return np.clip(bound, 0.0, 1.0)

    def epsilon(self, delta: float, *, pessimistic: bool) -> float:
        """Smallest eps >= 0 with an upper bound on delta(eps) at most ``delta``, or largest with a lower bound above it.

        Pessimistic: ``inf`` where no knot will do. Optimistic: 0 where none will. NaN, which must not occur, will not do.
        """
        keep = self.losses >= 0.0
        losses, above, above_q, error = self.losses[keep], self.above[keep], self.above_q[keep], self.error[keep]
        margin = error + self.infinity if pessimistic else -error
        at_knots = above - np.exp(losses - self.reference) * above_q + margin
        # within the cell right of knot k, delta(eps) is bounded by above_k - e^(eps - reference) above_q_k + margin_k
        if pessimistic:
            meets = at_knots <= delta
            if not meets.any():
                return math.inf
            knot = int(np.argmax(meets))
            cell, fallback = knot - 1, float(losses[knot])
        else:
            exceeding = np.flatnonzero(at_knots > delta)
            if not exceeding.size:
                return 0.0
            knot = cell = int(exceeding[-1])
            fallback = float(losses[knot])
        if cell < 0 or (not pessimistic and cell == len(losses) - 1):
            return fallback
        numerator = above[cell] + margin[cell] - delta
        if not (numerator > 0 and above_q[cell] > 0):
            return fallback
        crossing = self.reference + math.log(numerator / above_q[cell])
        return float(min(max(crossing, losses[cell]), losses[cell + 1]))
