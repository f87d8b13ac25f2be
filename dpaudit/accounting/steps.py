"""Steps: the discrete pairs of all steps of a schedule, before they are composed. Notation as in composition.py."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .discretise import Grid

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of a composition.

    Attributes:
        masses: [k, n] P-masses of k distinct pairs on one grid.
        counts: [m] how often each of m laws is composed.
        infinity: probability under P that some step has infinite loss; ``minus_infinity`` the same of (Q, P).
        rounding: sum over steps of the sup-norm error of their curves by rounding.
        weights: [m, k] if the m laws are these combinations of the k rows; ``None`` if they are the rows.
        curve_error: [n] bound on the error of any one curve at each knot by interpolation; ``None`` for none.
        shifts: [k] what each row's losses lie above those of the grid; ``None`` for nothing, always so with weights.
        envelope: as many steps, each dominating one of these, without weights; ``None`` if there are no weights here.
    """

    grid: Grid
    masses: Floats
    counts: Floats
    infinity: float
    minus_infinity: float
    rounding: float
    weights: Floats | None = None
    curve_error: Floats | None = None
    shifts: Floats | None = None
    envelope: "Steps | None" = None

    @property
    def offset(self) -> float:
        """The loss of the composition at index 0: the sum of the steps' first losses."""
        base = float(self.counts.sum()) * self.grid.start
        return base if self.shifts is None else base + float(self.counts @ self.shifts)

    def log_moments(self, thetas: Floats) -> Floats:
        """K(theta) for each theta, of the absolute masses. With weights: of the envelope, which bounds it from above."""
        if self.envelope is not None:
            return self.envelope.log_moments(thetas)
        drift = 0.0 if self.shifts is None else thetas * float(self.counts @ self.shifts)
        return np.asarray(self.counts @ _row_log_moments(self.masses, self.grid, thetas) + drift)

    def row_log_moments(self, theta: float) -> Floats:
        """[k]: log of the sum of |mass| e^(theta loss) of every row, its shift left out."""
        return np.asarray(_row_log_moments(self.masses, self.grid, np.array([theta]))[:, 0])

    def noise(self) -> float:
        """Bound on the log of the product of the l1 norms of all masses, 0 for masses without rounding noise.

        With weights: an error e of the knots moves each mass by at most 4 e / h.
        """
        if self.weights is not None:
            return 4 * self.rounding * self.grid.size / self.grid.step
        return float(self.counts @ np.log(np.maximum(np.abs(self.masses).sum(axis=1), 1.0)))

    def deviation(self) -> float:
        """Root mean square of the sum of losses about its mean, roughly: the mean of each step is taken as 0."""
        if self.envelope is not None:
            return self.envelope.deviation()
        return math.sqrt(max(float(self.counts @ (self.masses @ self.grid.losses**2)), 0.0))

    def saddle(self, log_delta: float) -> tuple[float, float]:
        """(theta, epsilon) of the best moment bound on epsilon at this delta; epsilon may be below 0.

        Source: Canonne, Kamath and Steinke 2020 (arXiv 2004.00010v3), Proposition 12. Used to place the window only.
        """
        thetas = np.exp(np.linspace(math.log(1e-3), math.log(60 / self.grid.step), 40))
        for _ in range(2):
            bounds = (
                self.log_moments(thetas) + thetas * np.log(thetas) - (1 + thetas) * np.log1p(thetas) - log_delta
            ) / thetas
            best = int(np.argmin(bounds))
            low, high = thetas[max(best - 1, 0)], thetas[min(best + 1, len(thetas) - 1)]
            result = float(thetas[best]), float(bounds[best])
            thetas = np.exp(np.linspace(math.log(low), math.log(high), 9))
        return result

    def reversed(self) -> "Steps":
        """The steps of the reversed pairs (Q, P): Q = e^-loss P on the mirrored grid."""
        losses = self.grid.losses
        shrink = np.exp(-losses)
        own = shrink if self.shifts is None else shrink * np.exp(-self.shifts)[:, None]
        return Steps(
            grid=Grid(start=-float(losses[-1]), step=self.grid.step, size=self.grid.size),
            masses=(self.masses * own)[:, ::-1].copy(),
            counts=self.counts,
            weights=self.weights,
            infinity=self.minus_infinity,
            minus_infinity=self.infinity,
            rounding=self.rounding,
            curve_error=None if self.curve_error is None else (self.curve_error * shrink)[::-1].copy(),
            shifts=None if self.shifts is None else -self.shifts,
            envelope=None if self.envelope is None else self.envelope.reversed(),
        )


def _row_log_moments(masses: Floats, grid: Grid, thetas: Floats) -> Floats:
    """[k, len(thetas)]: log of the sum of |mass| e^(theta loss) of every row."""
    losses = grid.losses
    peaks = np.maximum(thetas * losses[0], thetas * losses[-1])
    moments = np.abs(masses) @ np.exp(np.outer(losses, thetas) - peaks)
    return np.asarray(np.log(np.maximum(moments, 1e-300)) + peaks)
