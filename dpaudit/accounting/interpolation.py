"""Thousands of distinct noise levels from a few dozen curves, with a proved error.

Claim (derived here). Let F(x) = H_G(gamma'; e^x) be the curve of N(mu,1) against N(0,1) at mu = e^x and gamma' =
e^eps', any real eps'. The polynomial of degree n-1 through n Chebyshev points of [c-a, c+a] is, for every rho > 1 with
B < pi/4, within
    4 M rho^-(n-1) / (rho-1),  M = A R / sqrt(2 pi) * max_r exp(-(cos(2B) (eps'^2/r^2 + r^2/4) - eps')/2)
of F, where A, B = a (rho +- 1/rho)/2, R = e^(c+A) and r ranges over [e^(c-A), R].
Proof. dH_G/dmu = phi(eps'/mu - mu/2), which extends to complex mu = r e^(i psi) with modulus exp(-Re(z^2)/2)/sqrt(2
pi), z^2 = eps'^2/mu^2 - eps' + mu^2/4. The real parts of mu^-2 and mu^2 are cos(2 psi) r^-2 and cos(2 psi) r^2, and on
the Bernstein ellipse |psi| <= B < pi/4, so cos(2 psi) >= cos(2B) > 0. Hence |F'| = |mu dH_G/dmu| <= M/A there and |F -
F(c)| <= M, and Trefethen, Approximation Theory and Approximation Practice (2013), Theorem 8.2 gives the claim. The
maximum over r is at r^2 = 2 |eps'|, or the nearer end. A subsampled step has the curve q H_G with gamma' free of mu
(RemoveCurve), hence q times the error; masses are linear in the curve, so they interpolate with the same weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NODES = 32
_NARROWEST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """An interval of mu with the Chebyshev points in log mu."""

    low: float
    high: float

    @property
    def _centre(self) -> float:
        return math.log(self.low * self.high) / 2

    @property
    def _half(self) -> float:
        return max(math.log(self.high / self.low) / 2, _NARROWEST)

    @property
    def points(self) -> Floats:
        """[-1, 1]"""
        return np.cos((2 * np.arange(_NODES) + 1) * math.pi / (2 * _NODES))

    @property
    def nodes(self) -> Floats:
        """mu at the Chebyshev points."""
        return np.exp(self._centre + self._half * self.points)

    def weights(self, mus: Floats) -> Floats:
        """[len(mus), nodes] Lagrange weights, by the barycentric formula."""
        gaps = (np.log(mus) - self._centre)[:, None] / self._half - self.points[None, :]
        exact = np.abs(gaps) < 1e-13
        signs = np.where(np.arange(_NODES) % 2, -1.0, 1.0) * np.sqrt(1 - self.points**2)
        raw = signs / np.where(exact, 1.0, gaps)
        weights = raw / raw.sum(axis=1, keepdims=True)
        hit = exact.any(axis=1)
        weights[hit] = exact[hit].astype(np.float64)
        return np.asarray(weights)

    def errors(self, inner: Floats) -> Floats:
        """The bound of the claim at every eps' in ``inner`` (-inf: 0), minimised over rho."""
        best = np.full(inner.shape, np.inf)
        magnitude = np.abs(inner)
        for log_rho in np.linspace(0.3, 9.0, 30):
            rho = math.exp(log_rho)
            major, minor = self._half * (rho + 1 / rho) / 2, self._half * (rho - 1 / rho) / 2
            if minor >= 0.75:
                break
            largest = math.exp(2 * (self._centre + major))
            square = np.clip(2 * magnitude, math.exp(2 * (self._centre - major)), largest)
            exponent = -(math.cos(2 * minor) * (magnitude / square * magnitude + square / 4) - inner) / 2
            front = math.log(4 * major / math.sqrt(2 * math.pi)) + math.log(largest) / 2
            best = np.minimum(best, front + exponent - (_NODES - 1) * log_rho - math.log(rho - 1))
        return np.where(np.isneginf(inner), 0.0, np.exp(np.minimum(best, 700.0)))


def pieces(mus: Floats, affordable: Callable[[Piece], bool]) -> list[Piece]:
    """Pieces that cover ``mus`` (positive, increasing), halved until each is affordable, at most to a relative width of 1e-6."""
    whole = Piece(low=float(mus[0]), high=float(mus[-1]))
    if whole.high / whole.low < 1 + _NARROWEST or affordable(whole):
        return [whole]
    middle = int(np.searchsorted(mus, math.sqrt(whole.low * whole.high), side="right"))
    return pieces(mus[:middle], affordable) + pieces(mus[middle:], affordable)
