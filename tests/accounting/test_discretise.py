"""The discrete pairs lie on the right side of the curve at every epsilon, also between knots, and are pairs of laws."""

import math

import numpy as np
import pytest

from dpaudit.accounting.discretise import Grid, inner_anchor, optimistic, pessimistic
from dpaudit.accounting.privacy_curves import RemoveCurve, ReplaceCurve, SwapCurve
from dpaudit.accounting.shuffled import largest_coordinate_curve

CASES = [
    (RemoveCurve(q=0.004, mu=1.5), 9.0, 900),
    (RemoveCurve(q=0.004, mu=4.2), 33.0, 600),
    (RemoveCurve(q=0.3, mu=1.0), 6.0, 700),
    (RemoveCurve(q=0.001, mu=0.01), 1e-4, 120),
    (ReplaceCurve(q=0.02, mu=1.2), 6.0, 801),
    (SwapCurve(q=0.02, mu=2.4), 12.0, 801),
    (largest_coordinate_curve((0.5,) * 20, 0.05), 10.0, 801),
]


def grid_for(curve, reach, size, *, below):
    if not isinstance(curve, RemoveCurve):
        step = 2 * reach / (size - 1)
        return Grid(start=-step * ((size - 1) // 2), step=step, size=size)
    start, step = math.log1p(-curve.q), reach / size
    if curve.mu < 0.1:
        return Grid(start=-step * (size // 2), step=step, size=size)
    return Grid(start=inner_anchor(curve, start, step) if below else start, step=step, size=size)


def excess_of(pair, epsilons):
    losses, p = pair.grid.losses, pair.masses
    q = p * np.exp(-losses)
    stick = np.array([np.maximum(p - np.exp(e) * q, 0).sum() for e in epsilons]) + pair.at_infinity
    return stick - np.maximum(0, -np.expm1(epsilons))


@pytest.mark.parametrize(("curve", "reach", "size"), CASES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("build", [pessimistic, optimistic])
def test_pair_bounds_the_curve(curve, reach, size, build):
    below = build is optimistic
    grid = grid_for(curve, reach, size, below=below)
    pair = build(curve, grid)
    epsilons = np.random.default_rng(3).uniform(1.3 * grid.start, 0.98 * grid.losses[-1], 1500)
    difference = excess_of(pair, epsilons) - curve.excess(epsilons)
    noise = 2e-13 * curve.scale + 1e-15
    assert (difference <= noise).all() if below else (difference >= -noise).all()
    # and not by much: a bound that is far away would pass the line above
    away = np.abs(epsilons) > 5 * grid.step
    assert np.abs(difference[away]).max() < 0.02 * curve.excess(epsilons).max()


@pytest.mark.parametrize(("curve", "reach", "size"), CASES, ids=lambda value: str(value)[:40])
def test_masses_are_probabilities(curve, reach, size):
    for build in (pessimistic, optimistic):
        pair = build(curve, grid_for(curve, reach, size, below=build is optimistic))
        assert pair.masses.min() > -1e-13
        assert pair.masses.sum() + pair.at_infinity == pytest.approx(1, abs=1e-12)
        q = pair.masses * np.exp(-pair.grid.losses)
        assert q.sum() + pair.at_minus_infinity == pytest.approx(1, abs=1e-12)


def test_reversed_twice_is_the_same_pair():
    pair = pessimistic(RemoveCurve(q=0.1, mu=1.0), Grid(start=math.log(0.9), step=0.01, size=600))
    again = pair.reversed().reversed()
    np.testing.assert_allclose(again.masses, pair.masses, rtol=1e-12)
    assert again.grid.start == pytest.approx(pair.grid.start)


def test_reversed_pair_bounds_the_mirror_curve():
    curve = RemoveCurve(q=0.1, mu=1.0)
    pair = pessimistic(curve, Grid(start=math.log(0.9), step=0.01, size=600)).reversed()
    epsilons = np.linspace(0.0, 0.1, 50)
    mirror = np.exp(epsilons) * curve.excess(-epsilons)
    assert (excess_of(pair, epsilons) >= mirror - 1e-14).all()
    np.testing.assert_allclose(excess_of(pair, epsilons), mirror, atol=2e-4)
