"""Hockey-stick curves of one step: H(eps) = sup_A P(A) - e^eps Q(A) for the pair (P, Q) that dominates a step.

Notation: mu = 1/sigma, q the sampling probability, loss L = log dP/dQ, gamma = e^eps. A curve is held as its EXCESS
over the trivial curve, x(eps) = H(eps) - max(0, 1 - gamma) >= 0, so that nothing of order one hides what is of order q.

Mirror rule: the reversed pair (Q, P) has H'(eps) = 1 - gamma + gamma H(-eps), hence x'(eps) = gamma x(-eps).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from .gaussian_curve import hockey_stick

Floats = NDArray[np.float64]


class PrivacyCurve(Protocol):
    """A pair (P, Q) as its excess curve.

    ``excess(eps)`` is x; ``derivative(eps)`` is dx/deps: -gamma Q(L > eps) for eps > 0 and gamma Q(L <= eps) for eps <
    0. ``scale`` bounds x everywhere; the absolute rounding error of ``excess`` is below 1e-14 * ``scale``.
    """

    @property
    def scale(self) -> float: ...
    def excess(self, epsilon: Floats) -> Floats: ...
    def derivative(self, epsilon: Floats) -> Floats: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveCurve:
    """P = (1-q) N(0,1) + q N(mu,1) against Q = N(0,1): Poisson sampling, one row of norm at most S removed or zeroed.

    Guarantee: dominates every step of the cell (Zhu, Dong and Wang 2022, arXiv 2106.08567, Theorem 11; or the proof at
    ReplaceCurve with v = 0), and is attained by a row of norm S beside zero rows.
    Closed form: H(eps) = q H_G(eps'), gamma' = (gamma - 1 + q)/q, with H_G the curve of N(mu,1) against N(0,1); H is
    trivial where gamma <= 1 - q. (Direct: P - gamma Q = q (N(mu,1) - gamma' N(0,1)).)
    """

    q: float
    mu: float

    @property
    def scale(self) -> float:
        return self.q

    def _inner(self, epsilon: Floats) -> Floats:
        """eps' = log((gamma - 1 + q)/q); -inf where the curve is trivial."""
        ratio = np.maximum(np.expm1(epsilon) / self.q, -1.0)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log1p(ratio))

    def excess(self, epsilon: Floats) -> Floats:
        inner = self._inner(epsilon)
        weight = np.exp(np.minimum(inner, 0.0))  # gamma' left of zero, by the mirror rule
        value = np.zeros_like(inner)
        live = weight > 0
        value[live] = self.q * weight[live] * hockey_stick(np.abs(inner[live]), self.mu)
        return value

    def derivative(self, epsilon: Floats) -> Floats:
        inner = self._inner(epsilon)
        with np.errstate(invalid="ignore"):
            threshold = inner / self.mu + self.mu / 2
        right = -np.exp(np.minimum(epsilon + log_ndtr(-threshold), 0.0))
        left = np.exp(epsilon) * ndtr(threshold)
        return np.asarray(np.where(epsilon > 0, right, left))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceCurve:
    """P = (1-q) N(0,1) + q N(mu,1) against Q = (1-q) N(0,1) + q N(-mu,1): Poisson sampling, one row replaced.

    Guarantee (derived here): dominates (1-q) N(0,I) + q N(u,I) against (1-q) N(0,I) + q N(v,I) for all |u|, |v| <= mu,
    for every gamma >= 0. Proof: let R = N(0,I) and fix R(A) = a. By Neyman-Pearson N(u)(A) <= Phi(Phi^-1(a) + mu) and
    N(v)(A) >= Phi(Phi^-1(a) - mu), so P(A) - gamma Q(A) <= (1-q)(1-gamma) a + q Phi(Phi^-1(a) + mu) - gamma q
    Phi(Phi^-1(a) - mu), and a half-line of the one-dimensional pair attains the right side. Conditioning on which
    other rows were drawn (the same law on both sides) and joint convexity give the step. The pair is attained by rows
    +S and -S beside zero rows.
    """

    q: float
    mu: float

    @property
    def scale(self) -> float:
        return self.q * math.erf(self.mu / math.sqrt(2))

    def _threshold(self, epsilon: Floats) -> Floats:
        """t with L(t) = eps, eps >= 0. Any t gives a lower bound on the supremum, so its error enters squared."""
        if self.q == 1:
            return epsilon / (2 * self.mu)
        log_alpha = self.mu**2 / 2 + math.log1p(-self.q) - math.log(self.q)
        with np.errstate(divide="ignore"):
            log_sinh = epsilon / 2 + np.log(-np.expm1(-epsilon) / 2)
        exponent = log_alpha + log_sinh
        capped = np.minimum(exponent, 300.0)  # beyond it asinh(e^b) = b + log 2 to machine precision
        return (epsilon / 2 + np.arcsinh(np.exp(capped)) + np.maximum(exponent - 300.0, 0.0)) / self.mu

    def excess(self, epsilon: Floats) -> Floats:
        magnitude = np.abs(epsilon)
        t = self._threshold(magnitude)
        with np.errstate(divide="ignore"):
            log_expm1 = magnitude + np.log(-np.expm1(-magnitude))
        absent = (1 - self.q) * np.exp(np.minimum(log_expm1 + log_ndtr(-t), 700.0))
        other = self.q * np.exp(np.minimum(magnitude + log_ndtr(-t - self.mu), 700.0))
        value = np.maximum(self.q * ndtr(self.mu - t) - other - absent, 0.0)
        return np.asarray(np.exp(np.minimum(epsilon, 0.0)) * value)

    def derivative(self, epsilon: Floats) -> Floats:
        magnitude = np.abs(epsilon)
        t = self._threshold(magnitude)
        # right: -gamma Q(L > eps); left: gamma Q(L <= -|eps|) = gamma P(L >= |eps|), as the pair is its own mirror image
        right = (1 - self.q) * np.exp(np.minimum(magnitude + log_ndtr(-t), 700.0)) + self.q * np.exp(
            np.minimum(magnitude + log_ndtr(-t - self.mu), 700.0)
        )
        left = np.exp(-magnitude) * ((1 - self.q) * ndtr(-t) + self.q * ndtr(self.mu - t))
        return np.asarray(np.where(epsilon > 0, -right, left))


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapCurve:
    """The worse of RemoveCurve and its mirror image at every eps: batches of fixed size, one row replaced.

    Guarantee (derived here; for gamma >= 1 in agreement with Balle, Barthe and Gaboardi 2018, arXiv 1807.01647): with
    mu = 2 S/std it dominates B of N rows drawn without replacement, q = B/N, u replaced by v. Proof: the batch without
    the row is a uniform B-subset of the others, the batch with it a uniform (B-1)-subset beside it; couple them by
    dropping one row g. Given the rest the step is (1-q) N(0) + q N(u-g) against (1-q) N(0) + q N(v-g), with |u-g|,
    |v-g|, |u-v| <= 2 S, that is <= mu in units of the noise. Let R = N(0), R(A) = Phi(alpha), N(v-g)(A) = Phi(beta).
    Then P(A) - gamma Q(A) is at most (1-q)(1-gamma) Phi(alpha) + q Phi(kappa) - gamma q Phi(beta) with kappa <= beta +
    mu and kappa <= alpha + mu. For gamma >= 1: if alpha >= beta, lowering alpha to beta does not lower it; if alpha <
    beta, lowering beta to alpha does not. At alpha = beta it is (1-q) Phi(beta) + q Phi(beta + mu) - gamma Phi(beta),
    a value of RemoveCurve. For gamma < 1 exchange the neighbours. The larger of two convex curves is convex, so it is
    the curve of some pair. Attained, for gamma >= 1, by u = S beside rows -S, and v = -S.
    """

    q: float
    mu: float

    @property
    def scale(self) -> float:
        return self.q

    def excess(self, epsilon: Floats) -> Floats:
        value = RemoveCurve(q=self.q, mu=self.mu).excess(np.abs(epsilon))
        return np.asarray(value * np.exp(np.minimum(epsilon, 0.0)))

    def derivative(self, epsilon: Floats) -> Floats:
        remove = RemoveCurve(q=self.q, mu=self.mu)
        magnitude = np.maximum(np.abs(epsilon), 1e-300)
        right = remove.derivative(magnitude)
        return np.asarray(np.where(epsilon > 0, right, np.exp(-magnitude) * (remove.excess(magnitude) - right)))


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteCurve:
    """The curve of finitely many outcomes, exact up to summation. ``of`` sorts them by likelihood ratio.

    Attributes:
        losses: [k] increasing, log of P-mass over Q-mass of every outcome.
        right: [2, k+1] P-mass and Q-mass of the outcomes from index i on; ``left``: of those before i.
    """

    losses: Floats
    right: Floats
    left: Floats

    @classmethod
    def of(cls, p: Floats, q: Floats) -> "DiscreteCurve":
        with np.errstate(divide="ignore"):
            losses = np.log(p) - np.log(q)
        order = np.argsort(losses)
        masses = np.stack([p, q])[:, order]
        left = np.concatenate([np.zeros((2, 1)), np.cumsum(masses, axis=1)], axis=1)
        right = np.concatenate([np.cumsum(masses[:, ::-1], axis=1)[:, ::-1], np.zeros((2, 1))], axis=1)
        return cls(losses=losses[order], right=right, left=left)

    @property
    def scale(self) -> float:
        return 1.0

    def excess(self, epsilon: Floats) -> Floats:
        index = np.searchsorted(self.losses, epsilon, side="right")
        above = self.right[0, index] - np.exp(epsilon) * self.right[1, index]
        below = np.exp(np.minimum(epsilon, 0.0)) * self.left[1, index] - self.left[0, index]
        return np.asarray(np.maximum(np.where(epsilon > 0, above, below), 0.0))

    def derivative(self, epsilon: Floats) -> Floats:
        index = np.searchsorted(self.losses, epsilon, side="right")
        mass = np.where(epsilon > 0, -self.right[1, index], self.left[1, index])
        return np.asarray(np.exp(epsilon) * mass)
