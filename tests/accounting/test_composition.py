"""The FFT composition against direct convolution, and the proved interpolation against exact values."""

import math

import mpmath
import numpy as np
import pytest

from dpaudit.accounting.composition import compose
from dpaudit.accounting.discretise import Grid, pessimistic
from dpaudit.accounting.interpolation import Piece, pieces
from dpaudit.accounting.privacy_curves import RemoveCurve
from dpaudit.accounting.sampled_gaussian import _grid, compositions, schedule_of
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.accounting.step_rows import rows_of, steps_of
from dpaudit.accounting.steps import Steps


def steps_from(pairs, counts):
    counts = np.array(counts, dtype=np.float64)
    return Steps(
        grid=pairs[0].grid,
        masses=np.stack([pair.masses for pair in pairs]),
        counts=counts,
        infinity=float(1 - np.prod([(1 - pair.at_infinity) ** c for pair, c in zip(pairs, counts, strict=True)])),
        minus_infinity=0.0,
        rounding=1e-15,
    )


def direct_delta(pairs, counts, epsilon):
    """Convolution by definition, summed exactly by math.fsum."""
    law, start, step = np.ones(1), 0.0, pairs[0].grid.step
    for pair, count in zip(pairs, counts, strict=True):
        for _ in range(count):
            law, start = np.convolve(law, pair.masses), start + pair.grid.start
    losses = start + step * np.arange(len(law))
    above = losses > epsilon
    return math.fsum(-np.expm1(epsilon - losses[above]) * law[above])


@pytest.mark.parametrize("log_delta", [math.log(0.2), math.log(1e-5), math.log(1e-9)])
def test_transform_agrees_with_direct_convolution_within_its_own_error(log_delta):
    grid = Grid(start=math.log(0.9), step=0.02, size=300)
    pairs = [pessimistic(RemoveCurve(q=0.1, mu=mu), grid) for mu in (0.8, 1.1)]
    counts = [4, 3]
    composed = compose(steps_from(pairs, counts), log_delta)
    checked = 0
    for index in range(0, len(composed.losses), 7):
        epsilon = float(composed.losses[index])
        if epsilon < 0 or composed.error[index] > 1e-3:
            continue
        value = composed.above[index] - math.exp(epsilon - composed.reference) * composed.above_q[index]
        exact = direct_delta(pairs, counts, epsilon)
        assert abs(value - exact) <= composed.error[index]
        checked += 1
    assert checked > 20


def test_tilting_keeps_relative_accuracy_at_tiny_delta():
    """Without the tilt an FFT is good to 1e-16 of 1, so a delta of 1e-14 would have two digits."""
    grid = Grid(start=math.log(0.9), step=0.02, size=420)
    pairs = [pessimistic(RemoveCurve(q=0.1, mu=0.8), grid)]
    composed = compose(steps_from(pairs, [5]), math.log(1e-13))
    epsilon = composed.epsilon(1e-13 + composed.infinity, pessimistic=True)
    # the bound meets delta with its error, of which 1e-15 is the rounding that the masses are given here
    assert 0.989e-13 <= direct_delta(pairs, [5], epsilon) <= 1e-13


def test_epsilon_and_deltas_agree():
    family = StepFamily(q=0.01, kind=PairKind.REMOVE)
    for from_above in (True, False):
        curve = compositions(family, ((1.0, 100),), math.log(1e-5), from_above=from_above)[0]
        epsilon = curve.epsilon(1e-5, pessimistic=from_above)
        assert curve.deltas(np.array([epsilon]), pessimistic=from_above)[0] == pytest.approx(1e-5, rel=1e-6)


def test_a_bound_that_cannot_be_met_is_infinite_and_never_clamped():
    family = StepFamily(q=0.01, kind=PairKind.REMOVE)
    curve = compositions(family, ((1.0, 100),), math.log(1e-5), from_above=True)[0]
    assert curve.epsilon(curve.infinity / 2, pessimistic=True) == math.inf
    assert curve.deltas(np.array([-1e9]), pessimistic=True)[0] == 1.0
    assert curve.deltas(np.array([1e9]), pessimistic=False)[0] == 0.0


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.9), (1.0, 1.3), (4.0, 4.4), (0.01, 0.012)])
def test_interpolation_error_is_within_its_proved_bound(low, high):
    mpmath.mp.dps = 40
    piece = Piece(low=low, high=high)
    trial = np.array([low * (high / low) ** share for share in (0.013, 0.31, 0.5, 0.77, 0.99)])
    weights = piece.weights(trial)

    def exact(mu, inner):
        m, e = mpmath.mpf(float(mu)), mpmath.mpf(float(inner))
        return mpmath.ncdf(m / 2 - e / m) - mpmath.e**e * mpmath.ncdf(-m / 2 - e / m)

    for inner in (-3.0, 0.0, 0.2, 2.0, 9.0):
        nodes = [exact(mu, inner) for mu in piece.nodes]
        bound = float(piece.errors(np.array([inner]))[0])
        for row, mu in zip(weights, trial, strict=True):
            approximate = mpmath.fsum(mpmath.mpf(float(w)) * value for w, value in zip(row, nodes, strict=True))
            # the weights are doubles: allow their own rounding, relative to the largest value
            assert abs(approximate - exact(mu, inner)) <= bound + 1e-14 * float(max(abs(v) for v in nodes)) + 1e-300


def test_bound_is_useful_and_pieces_cover():
    mus = np.linspace(0.5, 2.0, 100)
    parts = pieces(mus, lambda piece: float(piece.errors(np.array([1.0]))[0]) < 1e-12)
    assert 2 <= len(parts) <= 16
    assert all(any(part.low <= mu <= part.high for part in parts) for mu in mus)


def test_interpolated_steps_equal_the_exact_ones():
    """300 distinct levels: all rows built, against combinations of the nodes."""
    family = StepFamily(q=0.01, kind=PairKind.REMOVE)
    schedule = schedule_of(tuple(np.linspace(0.8, 1.4, 300)))
    grid, theta = _grid(family, schedule, math.log(1e-5))
    fast = steps_of(family, schedule, grid, theta, from_above=True)
    slow = rows_of(family, schedule[::-1], grid, from_above=True)
    assert fast.weights is not None
    np.testing.assert_allclose(fast.weights @ fast.masses, slow.masses, atol=1e-11)
    epsilons = [compose(steps, math.log(1e-5)).epsilon(1e-5, pessimistic=True) for steps in (fast, slow)]
    assert epsilons[0] == pytest.approx(epsilons[1], rel=1e-6)
