"""The privacy curve of one or many unamplified Gaussian releases, in closed form.

Notation: mu = sensitivity / standard deviation; independent releases compose to mu = sqrt(sum mu_t^2).
Source: Balle and Wang 2018 (arXiv 1805.06530v2), Theorem 8:
delta(eps) = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import erfcx, log_ndtr, ndtr

Floats = NDArray[np.float64]

_ROUNDING = 1e-9
"""Relative widening of a closed-form epsilon: the root finder stops at 1e-12, the formula is good to about 1e-13."""
_TINY = 1e-6


def hockey_stick(epsilon: Floats, mu: float) -> Floats:
    """delta(eps) of N(mu, 1) against N(0, 1) for eps >= 0.

    Written as Phi(-a) - phi(a) M(b) with a = eps/mu - mu/2, b = eps/mu + mu/2 and the Mills ratio M, which is the same
    number without the overflow of e^eps. Absolute error a few 1e-16 of (1 + a^2) Phi(-a) (compared with mpmath in the tests).
    """
    a = epsilon / mu - mu / 2
    b = epsilon / mu + mu / 2
    density_times_mills = np.exp(-a * a / 2) * erfcx(b / math.sqrt(2)) / 2
    return np.asarray(np.maximum(ndtr(-a) - density_times_mills, 0.0))


def _log_delta(epsilon: float, mu: float) -> float:
    """log delta(eps), with relative accuracy far into the tail; -inf where delta underflows."""
    first, second = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(first + math.log(-math.expm1(second - first))) if second < first else -math.inf


def gaussian_epsilon(mu: float, delta: float) -> tuple[float, float]:
    """``(lower, upper)`` around the exact epsilon of a Gaussian mechanism, relative width 2e-9 for mu of at least ``_TINY``.

    Below that, delta is the difference of two numbers that double precision hardly tells apart; the ends are then 0 and the
    tail bound ``mu^2 / 2 + mu sqrt(-2 log delta)``, which is above epsilon because Phi(-x) is at most e^(-x^2 / 2).

    Errors: none. mu = 0 costs nothing; mu = inf, or delta = 0 with mu > 0, has no finite epsilon.
    """
    if mu == 0 or delta >= 1:
        return 0.0, 0.0
    if delta <= 0 or math.isinf(mu):
        return math.inf, math.inf
    log_delta = math.log(delta)
    tail = mu * mu / 2 + mu * math.sqrt(-2 * log_delta)
    if mu < _TINY:
        return 0.0, 0.0 if mu <= delta else tail  # the total variation is at most mu / sqrt(2 pi)
    if float(ndtr(mu / 2) - ndtr(-mu / 2)) <= delta:
        return 0.0, 0.0
    high = tail + 1e-12
    epsilon = float(brentq(lambda value: _log_delta(value, mu) - log_delta, 0.0, high, xtol=1e-300, rtol=1e-12))
    return epsilon * (1 - _ROUNDING), epsilon * (1 + _ROUNDING)
