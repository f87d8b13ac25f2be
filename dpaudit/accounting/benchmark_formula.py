"""INVALID accountant: the formula of the public benchmark, kept to reproduce its claims and to refute them.

It takes the large-sigma, small-order approximation T q^2 a / (2 sigma^2) of the Renyi divergence for every order a.
That holds under conditions on sigma and a (Abadi et al. 2016, Lemma 3; Mironov et al. 2019, arXiv 1908.10530, Theorem
11) that its own settings break. Nothing in dpaudit decides by it.
"""

import math

import numpy as np

from dpaudit.contract import UsageError

ORDERS = np.concatenate([1 + np.arange(1, 100) / 10, np.arange(12.0, 64.0)])
"""1.1, 1.2, ..., 10.9 and 12, 13, ..., 63."""
_SIGMA_RANGE = (0.01, 100.0)
_SIGMA_TOLERANCE = 1e-3


def benchmark_epsilon(*, sampling_probability: float, sigma: float, steps: int, delta: float) -> float:
    """What the benchmark claims for a run. Not an upper bound, and not a lower one.

    Errors: ``UsageError`` for sigma <= 0 or delta outside (0, 1).
    """
    if not (sigma > 0 and 0 < delta < 1):
        raise UsageError(f"benchmark formula: expected sigma > 0 and 0 < delta < 1, got {sigma!r} and {delta!r}")
    renyi = steps * sampling_probability**2 * ORDERS / (2 * sigma**2)
    return float(np.min(renyi - math.log(delta) / (ORDERS - 1) + np.log1p(-1 / ORDERS)))


def benchmark_calibrate(*, target_epsilon: float, delta: float, sampling_probability: float, steps: int) -> float:
    """The sigma that the benchmark runs with: binary search over [0.01, 100] until the interval is at most 1e-3 wide."""
    low, high = _SIGMA_RANGE
    while high - low > _SIGMA_TOLERANCE:
        middle = (low + high) / 2
        epsilon = benchmark_epsilon(sampling_probability=sampling_probability, sigma=middle, steps=steps, delta=delta)
        low, high = (middle, high) if epsilon > target_epsilon else (low, middle)
    return (low + high) / 2
