"""Every closed-form curve against an independent computation: quadrature, extended precision, random vectors, simulation."""

import math

import mpmath
import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

from dpaudit.accounting.gaussian_curve import gaussian_epsilon, hockey_stick
from dpaudit.accounting.privacy_curves import DiscreteCurve, RemoveCurve, ReplaceCurve, SwapCurve
from dpaudit.accounting.truncation import MixtureCurve, Truncation

EPSILONS = np.array([-3.0, -0.7, -0.05, -0.004, -0.0003, 0.0, 0.0003, 0.004, 0.05, 0.7, 3.0, 6.0])


X = np.linspace(-16, 20, 720_001)


def by_quadrature(p, q, epsilon):
    """int max(0, p - e^eps q) over [-16, 20], minus the trivial curve; trapezoids of 5e-5, error about 1e-9 at the kinks."""
    return float(np.maximum(p - math.exp(epsilon) * q, 0).sum() * 5e-5) - max(0.0, -math.expm1(epsilon))


def densities(kind, q, mu):
    """Of both laws at the points of X."""

    def mixture(shift):
        return (1 - q) * norm.pdf(X) + q * norm.pdf(X, loc=shift)

    return mixture(mu), (norm.pdf(X) if kind == "remove" else mixture(-mu))


@pytest.mark.parametrize("kind", ["remove", "replace"])
@pytest.mark.parametrize(("q", "mu"), [(0.004, 1.5), (0.3, 0.7), (0.9, 2.0), (0.99, 3.0), (1.0, 1.0), (0.02, 4.0)])
def test_curve_is_the_hockey_stick_of_its_pair(kind, q, mu):
    curve = (RemoveCurve if kind == "remove" else ReplaceCurve)(q=q, mu=mu)
    both = densities(kind, q, mu)
    slow = [by_quadrature(*both, epsilon) for epsilon in EPSILONS]
    np.testing.assert_allclose(curve.excess(EPSILONS), slow, atol=2e-8)


@pytest.mark.parametrize(
    "curve",
    [
        RemoveCurve(q=0.004, mu=1.5),
        RemoveCurve(q=0.5, mu=0.2),
        ReplaceCurve(q=0.1, mu=1.0),
        SwapCurve(q=0.2, mu=2.0),
        MixtureCurve(first=RemoveCurve(q=0.1, mu=1.0), second=SwapCurve(q=0.3, mu=2.0), weight=0.2),
    ],
    ids=lambda curve: type(curve).__name__,
)
def test_derivative_is_the_slope(curve):
    points = EPSILONS[np.abs(EPSILONS) > 1e-3]
    if isinstance(curve, RemoveCurve):  # the slope is not smooth at the least loss
        points = points[np.abs(points - math.log1p(-curve.q)) > 1e-3]
    width = 1e-6
    slope = (curve.excess(points + width) - curve.excess(points - width)) / (2 * width)
    np.testing.assert_allclose(curve.derivative(points), slope, atol=1e-7)


def test_far_tails_keep_relative_accuracy():
    """Against 60-digit arithmetic, where both terms of the textbook formula cancel to 1e-30."""
    mpmath.mp.dps = 60
    q, mu, epsilon = mpmath.mpf("0.004"), mpmath.mpf("1.5"), mpmath.mpf(12)
    gamma = (mpmath.e**epsilon - 1 + q) / q
    inner = mpmath.log(gamma)
    exact = q * (mpmath.ncdf(mu / 2 - inner / mu) - gamma * mpmath.ncdf(-mu / 2 - inner / mu))
    found = float(RemoveCurve(q=0.004, mu=1.5).excess(np.array([12.0]))[0])
    assert found == pytest.approx(float(exact), rel=1e-11, abs=0.0)
    assert exact < 1e-28


def test_rounding_stays_below_what_the_error_budget_assumes():
    """PrivacyCurve promises 1e-14 of scale; compared with 50 digits at random points."""
    mpmath.mp.dps = 50
    rng = np.random.default_rng(7)
    for _ in range(60):
        mu, epsilon, q = float(rng.uniform(0.05, 6)), float(rng.uniform(0, 20)), float(10 ** rng.uniform(-6, 0))
        gamma = (mpmath.e ** mpmath.mpf(epsilon) - 1 + mpmath.mpf(q)) / mpmath.mpf(q)
        inner, m = mpmath.log(gamma), mpmath.mpf(mu)
        remove = mpmath.mpf(q) * (mpmath.ncdf(m / 2 - inner / m) - gamma * mpmath.ncdf(-m / 2 - inner / m))
        assert abs(RemoveCurve(q=q, mu=mu).excess(np.array([epsilon]))[0] - float(remove)) <= 1e-14 * q


def test_replace_curve_dominates_vectors_in_the_plane():
    """The proof at ReplaceCurve, tried: random u, v of norm at most mu in the plane never exceed the one-dimensional pair."""
    rng = np.random.default_rng(11)
    axis = np.linspace(-9, 9, 361)
    x, y = np.meshgrid(axis, axis)
    cell = (axis[1] - axis[0]) ** 2

    def density(shift):
        return np.exp(-((x - shift[0]) ** 2 + (y - shift[1]) ** 2) / 2) / (2 * math.pi)

    for _ in range(12):
        q, mu = float(rng.uniform(0.05, 1)), float(rng.uniform(0.3, 2.5))
        shifts = [mu * rng.uniform(0, 1) ** 0.3 * np.array([math.cos(a), math.sin(a)]) for a in rng.uniform(0, 7, 2)]
        p, r = [(1 - q) * density((0, 0)) + q * density(shift) for shift in shifts]
        for epsilon in (-1.0, 0.0, 0.4, 2.0):
            found = np.maximum(p - math.exp(epsilon) * r, 0).sum() * cell - max(0.0, -math.expm1(epsilon))
            assert found <= ReplaceCurve(q=q, mu=mu).excess(np.array([epsilon]))[0] + 1e-6


def test_swap_curve_dominates_swaps_and_is_attained():
    """The proof at SwapCurve, tried in one dimension: shifts w, w' with |w|, |w'|, |w - w'| <= mu, both orders."""
    rng = np.random.default_rng(13)
    q, mu, axis = 0.2, 1.6, np.arange(-12, 12, 1e-3)
    curve = SwapCurve(q=q, mu=mu)
    for _ in range(40):
        w, other = rng.uniform(-mu, mu, 2)
        if abs(w - other) > mu:
            continue
        for epsilon in (-0.8, 0.0, 0.3, 1.5):
            p, r = [(1 - q) * norm.pdf(axis) + q * norm.pdf(axis, loc=shift) for shift in (w, other)]
            found = np.maximum(p - math.exp(epsilon) * r, 0).sum() * 1e-3 - max(0.0, -math.expm1(epsilon))
            assert found <= curve.excess(np.array([epsilon]))[0] + 1e-7
    attained = RemoveCurve(q=q, mu=mu).excess(np.array([0.3, 1.5]))
    np.testing.assert_allclose(curve.excess(np.array([0.3, 1.5])), attained, rtol=1e-12)


def test_truncation_probabilities_match_a_simulation():
    rng = np.random.default_rng(17)
    size, cap, q, trials = 20, 4, 0.2, 200_000
    truncation = Truncation.of(q=q, batch_size=cap, dataset_size=size)
    drawn = rng.random((trials, size)) < q
    others = drawn[:, 1:].sum(axis=1)
    kept = drawn[:, 0] & (rng.random(trials) < np.minimum(1, cap / np.maximum(drawn.sum(axis=1), 1)))
    cut = others >= cap
    assert truncation.probability == pytest.approx(cut.mean(), abs=0.005)
    assert truncation.conditional == pytest.approx(kept[cut].mean(), abs=0.005)
    assert truncation.inclusion == pytest.approx(kept.mean(), abs=0.004)
    assert truncation.inclusion < q


def test_truncation_that_cuts_nothing_is_plain_poisson_sampling():
    whole = Truncation.of(q=0.3, batch_size=10, dataset_size=10)
    assert (whole.probability, whole.conditional, whole.inclusion) == (0.0, 0.0, 0.3)
    first = RemoveCurve(q=0.3, mu=1.0)
    assert whole.curve(first) is first
    assert Truncation(probability=0.0, conditional=0.5, inclusion=0.3).curve(first) is first
    assert Truncation(probability=0.5, conditional=0.0, inclusion=0.2).curve(first) is first


def test_truncation_that_always_cuts_is_a_swap():
    always = Truncation.of(q=1.0, batch_size=3, dataset_size=10)
    assert (always.probability, always.conditional, always.inclusion) == pytest.approx((1.0, 0.3, 0.3))
    curve, swap = always.curve(RemoveCurve(q=1.0, mu=1.0)), SwapCurve(q=always.conditional, mu=2.0)
    np.testing.assert_array_equal(curve.excess(EPSILONS), swap.excess(EPSILONS))


def test_the_scale_of_a_mixture_is_the_mean_of_its_parts():
    first, second = RemoveCurve(q=0.1, mu=1.0), SwapCurve(q=0.3, mu=2.0)
    mixture = MixtureCurve(first=first, second=second, weight=0.2)
    assert mixture.scale == pytest.approx(0.8 * first.scale + 0.2 * second.scale, rel=1e-14)


def test_discrete_curve_is_the_sum_over_outcomes():
    rng = np.random.default_rng(19)
    p, q = rng.dirichlet(np.ones(9)), rng.dirichlet(np.ones(9))
    curve = DiscreteCurve.of(p, q)
    slow = [np.maximum(p - math.exp(e) * q, 0).sum() - max(0.0, -math.expm1(e)) for e in EPSILONS]
    np.testing.assert_allclose(curve.excess(EPSILONS), slow, atol=1e-14)


@pytest.mark.parametrize("mu", [1e-4, 0.1, 1.0, 5.0, 60.0])
@pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-12])
def test_gaussian_epsilon_brackets_the_root(mu, delta):
    mpmath.mp.dps = 40
    low, high = gaussian_epsilon(mu, delta)

    def exact(epsilon):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(m / 2 - e / m) - mpmath.e**e * mpmath.ncdf(-m / 2 - e / m)

    if high == 0:
        assert exact(0) <= delta
    else:
        assert exact(high) <= delta <= exact(low)
        assert high / low - 1 < 1e-8


@pytest.mark.parametrize(
    ("mu", "delta"), [(1e-6, 1e-9), (5e-7, 1e-9), (1e-8, 1e-12), (1e-14, 1e-16), (1e-17, 1e-30), (1e-20, 1e-12)]
)
def test_gaussian_epsilon_of_a_tiny_mean_holds_the_exact_one(mu, delta):
    """Where double precision cannot tell the two parts of delta apart."""
    mpmath.mp.dps = 60
    low, high = gaussian_epsilon(mu, delta)

    def exact(epsilon):
        e, m = mpmath.mpf(epsilon), mpmath.mpf(mu)
        return mpmath.ncdf(m / 2 - e / m) - mpmath.e**e * mpmath.ncdf(-m / 2 - e / m)

    assert low <= high
    assert exact(high) <= delta
    assert low == 0 or exact(low) >= delta


def test_gaussian_edges():
    assert gaussian_epsilon(0.0, 1e-5) == (0.0, 0.0)
    assert gaussian_epsilon(1.0, 0.0) == (math.inf, math.inf)
    assert gaussian_epsilon(math.inf, 1e-5) == (math.inf, math.inf)
    assert gaussian_epsilon(1.0, 1.0) == (0.0, 0.0)
    assert hockey_stick(np.zeros(1), 1.0)[0] == pytest.approx(float(ndtr(0.5) - ndtr(-0.5)), rel=1e-14)


def exact_excess(curve, epsilon):
    """The excess by many digits: the region of either sign is a half line, whose end is solved for in e^(mu x)."""
    with mpmath.workdps(60 + int(curve.mu**2)):
        q, mu, gamma = mpmath.mpf(curve.q), mpmath.mpf(curve.mu), mpmath.exp(mpmath.mpf(epsilon))
        if isinstance(curve, RemoveCurve):
            ratio = (gamma - 1 + q) / q
            if ratio <= 0:
                return mpmath.mpf(0)
            end = (mpmath.log(ratio) + mu**2 / 2) / mu
            stick = (1 - q) * mpmath.ncdf(-end) + q * mpmath.ncdf(mu - end) - gamma * mpmath.ncdf(-end)
        else:
            a, b = q * mpmath.exp(-(mu**2) / 2), (1 - q) * (1 - gamma)
            end = mpmath.log((-b + mpmath.sqrt(b**2 + 4 * a * a * gamma)) / (2 * a)) / mu
            stick = (1 - q) * mpmath.ncdf(-end) + q * mpmath.ncdf(mu - end)
            stick -= gamma * ((1 - q) * mpmath.ncdf(-end) + q * mpmath.ncdf(-mu - end))
        return stick - max(mpmath.mpf(0), 1 - gamma)


@pytest.mark.parametrize("kind", [RemoveCurve, ReplaceCurve])
def test_curves_to_the_digits_that_are_promised(kind):
    """1e-14 of the scale everywhere, either side of 0, for little and for much noise."""
    for q, mu in ((1e-6, 0.3), (0.004, 1.5), (0.3, 0.05), (0.7, 4.0), (0.999, 9.0), (1.0, 0.8), (0.01, 30.0)):
        curve = kind(q=q, mu=mu)
        at = np.array([-30.0, -2.0, -0.3, -1e-3, -1e-9, 0.0, 1e-9, 1e-3, 0.3, 2.0, 30.0, 200.0])
        found = curve.excess(at)
        for value, epsilon in zip(found, at, strict=True):
            assert abs(value - float(exact_excess(curve, epsilon))) <= 1e-14 * curve.scale
            assert value <= curve.scale * (1 + 1e-14)


@pytest.mark.parametrize("curve", [RemoveCurve(q=0.3, mu=1.0), ReplaceCurve(q=0.3, mu=1.0), SwapCurve(q=0.3, mu=1.0)])
def test_slopes_far_out_are_those_of_the_tails(curve):
    """By mpmath, in the relative sense: where the curve is below 1e-12 its slope is told to a millionth all the same."""
    inner = RemoveCurve(q=0.3, mu=1.0) if isinstance(curve, SwapCurve) else curve
    for epsilon in (4.0, 9.0):
        with mpmath.workdps(60):
            width = mpmath.mpf("1e-15")
            slope = float((exact_excess(inner, epsilon + width) - exact_excess(inner, epsilon - width)) / (2 * width))
        assert float(curve.derivative(np.array([epsilon]))[0]) == pytest.approx(slope, rel=1e-6, abs=0.0)


@pytest.mark.parametrize("curve", [RemoveCurve(q=0.3, mu=1.0), ReplaceCurve(q=0.3, mu=1.0), SwapCurve(q=0.3, mu=1.0)])
def test_at_loss_zero_the_slope_is_that_from_the_left(curve):
    """There what excess is counted over changes its slope by 1, and discretisation takes the left one. A swap has a kink."""
    at, before, after = curve.derivative(np.array([0.0, -1e-12, 1e-12]))
    assert at == pytest.approx(before, rel=1e-9)
    kink = 0.268047 if isinstance(curve, SwapCurve) else 0.0
    assert before - after == pytest.approx(1.0 - kink, abs=1e-6)


def test_the_scale_bounds_the_curve_and_is_reached():
    for curve in (RemoveCurve(q=0.3, mu=8.0), ReplaceCurve(q=0.3, mu=1.0), SwapCurve(q=0.3, mu=8.0)):
        assert curve.excess(np.zeros(1))[0] == pytest.approx(curve.scale, rel=1e-3)
        assert (curve.excess(EPSILONS) <= curve.scale * (1 + 1e-14)).all()
    assert DiscreteCurve.of(np.array([0.5, 0.5]), np.array([0.2, 0.8])).scale == 1.0


def test_at_and_beyond_the_border_of_floats_curves_stay_numbers():
    at = np.array([-690.0, -40.0, 0.0, 40.0, 690.0])
    for curve in (RemoveCurve(q=0.01, mu=40.0), ReplaceCurve(q=0.01, mu=40.0), SwapCurve(q=0.01, mu=40.0)):
        value, slope = curve.excess(at), curve.derivative(at)
        assert np.isfinite(value).all()
        assert np.isfinite(slope).all()
        assert (value >= 0).all()
        assert (slope[at > 0] <= 0).all()


@pytest.mark.parametrize("epsilon", [-0.8, -0.2, 0.0, 0.1, 0.9])
def test_the_slope_of_a_discrete_curve_counts_the_outcomes(epsilon):
    p, q = np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.3, 0.3, 0.2, 0.2])
    curve = DiscreteCurve.of(p[::-1], q[::-1])
    assert (np.diff(curve.losses) > 0).all()
    beyond = np.log(p / q) > epsilon
    slope = -math.exp(epsilon) * q[beyond].sum() if epsilon > 0 else math.exp(epsilon) * q[~beyond].sum()
    assert curve.derivative(np.array([epsilon]))[0] == pytest.approx(slope, rel=1e-14)
    at_an_outcome = np.log(p / q)[2:3]
    assert curve.derivative(at_an_outcome)[0] == pytest.approx(-(p / q)[2] * q[3], rel=1e-14)
