"""Lower ends and witnesses for empty batches that show and for uniform noise: numbers against slow twins."""

import math

import numpy as np
import pytest
from scipy import stats

from dpaudit.accounting.visible_emptiness import epsilon_with_visible_emptiness
from dpaudit.contract import UsageError


def one_step(sigma: float, q: float, size: int, delta: float) -> float:
    """The slow twin for one step: the hockey-stick divergence by quadrature, both for the empty event and the density."""
    without, beside = (1 - q) ** (size - 1), (1 - q) ** size
    x = np.linspace(-12, 13, 200_001)

    def divergence(epsilon: float) -> float:
        base = (1 - without) * stats.norm.pdf(x, 0, sigma)
        other = (1 - q - beside) * stats.norm.pdf(x, 0, sigma) + q * stats.norm.pdf(x, 1, sigma)
        gap = np.maximum(other - math.exp(epsilon) * base, 0)
        return float(np.trapezoid(gap, x)) + max(beside - math.exp(epsilon) * without, 0)

    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if divergence(middle) > delta else (low, middle)
    return low


@pytest.mark.parametrize(("sigma", "q", "size"), [(0.8, 0.05, 20), (1.5, 0.2, 8), (0.6, 0.01, 400)])
def test_one_visible_step_is_bounded_from_below_and_nearly_exactly(sigma: float, q: float, size: int) -> None:
    exact = one_step(sigma, q, size, 1e-4)
    found = epsilon_with_visible_emptiness(
        sigma=sigma, sampling_probability=q, dataset_size=size, steps=1, visible=1, delta=1e-4
    )
    assert exact * 0.99 <= found <= exact * (1 + 1e-4)


def test_seeing_empty_batches_only_adds() -> None:
    values = [
        epsilon_with_visible_emptiness(
            sigma=0.7, sampling_probability=0.01, dataset_size=400, steps=500, visible=visible, delta=1e-5
        )
        for visible in (0, 250, 500)
    ]
    assert values[0] < values[1] < values[2] < 1.05 * values[0]


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(UsageError, match="visible emptiness"):
        epsilon_with_visible_emptiness(
            sigma=0.0, sampling_probability=0.1, dataset_size=4, steps=1, visible=1, delta=1e-5
        )
