"""Steps by hand: moments, window placing and the reversed pairs, each by its definition."""

import dataclasses
import math

import numpy as np
import pytest

from dpaudit.accounting.discretise import Grid
from dpaudit.accounting.steps import Steps

GRID = Grid(start=-0.75, step=0.5, size=6)
MASSES = np.array([[0.1, 0.3, 0.3, 0.2, 0.1, 1e-9], [0.05, 0.25, 0.4, 0.2, 0.12, -0.02]])
COUNTS = np.array([3.0, 2.0])


def steps(**changes):
    made = Steps(grid=GRID, masses=MASSES, counts=COUNTS, infinity=1e-4, minus_infinity=2e-4, rounding=1e-9)
    return dataclasses.replace(made, **changes)


SHIFTED = {"shifts": np.array([0.05, 0.11])}


def log_moment(theta, shifts=(0.0, 0.0)):
    """By definition: the losses of every row lie above the grid by its shift."""
    rows = [math.fsum(abs(m) * math.exp(theta * (x + s)) for m, x in zip(row, GRID.losses, strict=True))
            for row, s in zip(MASSES, shifts, strict=True)]  # fmt: skip
    return math.fsum(count * math.log(row) for count, row in zip(COUNTS, rows, strict=True))


def test_the_offset_is_the_sum_of_first_losses():
    assert steps().offset == 5 * -0.75
    assert steps(**SHIFTED).offset == pytest.approx(5 * -0.75 + 3 * 0.05 + 2 * 0.11, rel=1e-15)


@pytest.mark.parametrize("theta", [-2.5, -1.0, -0.3, 0.0, 0.4, 1.0, 7.0])
def test_moments_are_sums_over_outcomes(theta):
    assert steps().log_moments(np.array([theta]))[0] == pytest.approx(log_moment(theta), rel=1e-12, abs=1e-12)
    shifted = steps(**SHIFTED)
    truth = log_moment(theta, SHIFTED["shifts"])
    assert shifted.log_moments(np.array([0.1, theta]))[1] == pytest.approx(truth, rel=1e-12, abs=1e-12)
    rows = [math.log(math.fsum(np.abs(row) * np.exp(theta * GRID.losses))) for row in MASSES]
    np.testing.assert_allclose(shifted.row_log_moments(theta), rows, rtol=1e-12, atol=1e-12)


def test_moments_neither_overflow_nor_vanish():
    far = steps(grid=Grid(start=-600.0, step=240.0, size=6))
    assert far.log_moments(np.array([40.0]))[0] == pytest.approx(5 * 40 * 600 + 3 * math.log(1e-9) + 2 * math.log(0.02))
    assert far.log_moments(np.array([-40.0]))[0] == pytest.approx(5 * 40 * 600 + 3 * math.log(0.1) + 2 * math.log(0.05))
    empty = steps(masses=np.zeros((2, 6)))
    np.testing.assert_allclose(empty.row_log_moments(2.0), math.log(1e-300) + 2.0 * GRID.losses[-1])


def test_an_envelope_speaks_for_the_steps():
    envelope = steps(masses=MASSES * 2.0, counts=COUNTS * 3)
    behind = steps(envelope=envelope, weights=np.eye(2))
    np.testing.assert_array_equal(behind.log_moments(np.array([0.3, 2.0])), envelope.log_moments(np.array([0.3, 2.0])))
    assert behind.deviation() == envelope.deviation() != steps().deviation()
    assert behind.saddle(-9.0) == envelope.saddle(-9.0)


def test_noise_is_the_growth_of_the_sums_of_absolute_masses():
    assert steps().noise() == pytest.approx(3 * math.log1p(1e-9) + 2 * math.log(1.04), rel=1e-12)
    assert steps(masses=np.full((2, 6), 0.01)).noise() == 0.0
    assert steps(weights=np.eye(2), rounding=1e-6).noise() == pytest.approx(4 * 1e-6 * 6 / 0.5, rel=1e-15)


def test_deviation_is_the_root_of_the_sum_of_squares():
    squares = [math.fsum(row * GRID.losses**2) for row in MASSES]
    assert steps().deviation() == pytest.approx(math.sqrt(3 * squares[0] + 2 * squares[1]), rel=1e-14)
    assert steps(masses=-MASSES).deviation() == 0.0


def moment_bound(made, theta, log_delta):
    """Canonne, Kamath and Steinke 2020, Proposition 12, with order 1 + theta."""
    moment = float(made.log_moments(np.array([theta]))[0])
    return (moment + theta * math.log(theta) - (1 + theta) * math.log1p(theta) - log_delta) / theta


@pytest.mark.parametrize("log_delta", [math.log(0.3), math.log(1e-5), math.log(1e-30)])
def test_the_saddle_is_the_best_moment_bound(log_delta):
    theta, epsilon = steps().saddle(log_delta)
    assert epsilon == pytest.approx(moment_bound(steps(), theta, log_delta), rel=1e-12)
    best = min(moment_bound(steps(), trial, log_delta) for trial in np.exp(np.linspace(-6.9, math.log(119.0), 1000)))
    assert best * (1 - 1e-5) <= epsilon <= best * (1 + 2e-3)


def test_the_saddle_stays_where_it_is_searched():
    """From 1e-3 to 60 over the step: losses so large, or a delta so small, that the best lies beyond."""
    wide = steps(grid=Grid(start=-7500.0, step=5000.0, size=6))
    assert wide.saddle(math.log(0.9))[0] == pytest.approx(1e-3)
    assert steps().saddle(-1e6)[0] == pytest.approx(60 / 0.5)


def test_the_saddle_is_found_on_the_same_points_as_ever():
    """As recorded: it places windows and grids, so another search would move every end a little."""
    for delta, recorded in RECORDED.items():
        assert steps().saddle(math.log(delta)) == pytest.approx(recorded, rel=1e-9)


RECORDED = {0.3: (0.9180275759792811, 1.9440282538941687), 1e-05: (4.776948046442564, 6.349235267112454)}


@pytest.mark.parametrize("shifts", [None, SHIFTED["shifts"]])
def test_reversed_pairs_are_q_against_p(shifts):
    made = steps(shifts=shifts, masses=np.abs(MASSES))
    back = made.reversed()
    own = np.zeros(2) if shifts is None else shifts
    for row in range(2):  # the pair (Q, P): mass e^-loss p at the loss -loss
        losses, mirrored = GRID.losses + own[row], back.grid.losses - own[row]
        np.testing.assert_allclose(mirrored, -losses[::-1], rtol=1e-14)
        np.testing.assert_allclose(back.masses[row], (made.masses[row] * np.exp(-losses))[::-1], rtol=1e-14)
    assert (back.infinity, back.minus_infinity) == (2e-4, 1e-4)
    assert (back.rounding, back.counts.tolist()) == (1e-9, [3.0, 2.0])
    again = back.reversed()
    np.testing.assert_allclose(again.masses, made.masses, rtol=1e-13)
    assert again.grid.start == pytest.approx(-0.75)
    assert (again.shifts is None) == (shifts is None)
    thetas = np.array([0.2, 3.0])
    np.testing.assert_allclose(back.log_moments(thetas), made.log_moments(-1 - thetas), rtol=1e-12)


def test_reversed_keeps_what_interpolation_needs():
    error = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) * 1e-9
    envelope = steps(masses=MASSES * 2.0)
    weights = np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])
    back = steps(weights=weights, curve_error=error, envelope=envelope).reversed()
    np.testing.assert_array_equal(back.weights, weights)
    # the mirror rule: x'(eps) = e^eps x(-eps), and so for its error
    np.testing.assert_allclose(back.curve_error, (error * np.exp(-GRID.losses))[::-1], rtol=1e-14)
    np.testing.assert_allclose(back.envelope.masses, envelope.reversed().masses, rtol=1e-14)
    assert steps().reversed().curve_error is None
    assert steps().reversed().envelope is None
