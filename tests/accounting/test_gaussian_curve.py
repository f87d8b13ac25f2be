"""The Gaussian curve and its inverse against many digits, far into the tail and at the borders of the formulas."""

import math

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr

from dpaudit.accounting.gaussian_curve import _log_delta, gaussian_epsilon, hockey_stick


def exact_delta(epsilon, mu):
    e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
    return mpmath.ncdf(m / 2 - e / m) - mpmath.exp(e) * mpmath.ncdf(-m / 2 - e / m)


@pytest.mark.parametrize("mu", [1e-3, 0.05, 0.7, 3.0, 20.0])
def test_hockey_sticks_to_a_few_units_of_the_first_term(mu):
    at = np.array([0.0, 1e-6, 0.01, 0.5, 3.0, 40.0, 600.0])
    with mpmath.workdps(60):
        truth = [exact_delta(epsilon, mu) for epsilon in at]
    a = at / mu - mu / 2
    first = (1 + a * a) * ndtr(-a)
    found = hockey_stick(at, mu)
    assert (np.abs(found - np.array([float(value) for value in truth])) <= 1e-15 * first + 1e-320).all()
    assert (found >= 0).all()


@pytest.mark.parametrize(
    ("epsilon", "mu"), [(0.3, 1.0), (5.0, 0.5), (300.0, 4.0), (30.0, 0.5), (1e-3, 0.02), (2000.0, 70.0)]
)
def test_logarithms_of_delta_keep_their_digits_where_delta_itself_underflows(epsilon, mu):
    with mpmath.workdps(60):
        truth = float(mpmath.log(exact_delta(epsilon, mu)))
    assert _log_delta(epsilon, mu) == pytest.approx(truth, rel=1e-9)


def test_a_delta_that_cannot_be_told_from_nothing_is_minus_infinity():
    assert _log_delta(0.0, 1e-300) == -math.inf
    assert _log_delta(1.0, 1e-160) == -math.inf


@pytest.mark.parametrize("mu", [2e-6, 1e-3, 0.3, 2.0, 30.0])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 0.05])
def test_epsilon_is_the_root_widened_by_1e_9(mu, delta):
    low, high = gaussian_epsilon(mu, delta)
    with mpmath.workdps(60):
        if exact_delta(0, mu) <= delta:
            assert (low, high) == (0.0, 0.0)
            return
        assert exact_delta(low, mu) >= delta >= exact_delta(high, mu)
    assert high / low - 1 == pytest.approx(2e-9, rel=1e-5, abs=0.0)


def test_below_a_millionth_the_upper_end_is_the_tail_bound():
    for mu, delta in ((9.9e-7, 1e-8), (1e-9, 1e-12), (5e-7, 4.999e-7)):
        low, high = gaussian_epsilon(mu, delta)
        assert low == 0.0
        assert high == pytest.approx(mu * mu / 2 + mu * math.sqrt(-2 * math.log(delta)), rel=1e-14, abs=0.0)
    assert gaussian_epsilon(5e-7, 5e-7) == (0.0, 0.0)
    assert gaussian_epsilon(5e-7, 6e-7) == (0.0, 0.0)
    assert gaussian_epsilon(1e-6, 1e-9)[0] > 0.0  # from here on the root itself


def test_at_the_total_variation_epsilon_is_zero_and_just_below_it_is_not():
    variation = float(ndtr(0.25) - ndtr(-0.25))
    assert gaussian_epsilon(0.5, variation) == (0.0, 0.0)
    low, high = gaussian_epsilon(0.5, variation * (1 - 1e-6))
    assert 0.0 < low < high < 1e-5


def test_borders():
    assert gaussian_epsilon(0.0, 0.0) == (0.0, 0.0)
    assert gaussian_epsilon(math.inf, 1.0) == (0.0, 0.0)
    assert gaussian_epsilon(0.5, 1.0) == (0.0, 0.0)
    assert gaussian_epsilon(0.5, 0.0) == (math.inf, math.inf)
    assert gaussian_epsilon(math.inf, 0.5) == (math.inf, math.inf)
