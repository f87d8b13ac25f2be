"""The discrete pairs lie on the right side of the curve at every epsilon, also between knots, and are pairs of laws."""

import math

import numpy as np
import pytest

from dpaudit.accounting.discretise import (
    LOSS_LIMIT,
    Grid,
    LossMasses,
    _convex_minorant,
    _from_knots,
    _last_above,
    inner_anchor,
    loss_range,
    optimistic,
    pessimistic,
)
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


COARSE = [
    (RemoveCurve(q=0.3, mu=1.0), 6.0, 9), (RemoveCurve(q=0.3, mu=1.0), 6.0, 23), (RemoveCurve(q=0.9, mu=3.0), 9.0, 14),
    (RemoveCurve(q=0.05, mu=4.0), 20.0, 17), (ReplaceCurve(q=0.4, mu=1.2), 6.0, 11), (ReplaceCurve(q=0.9, mu=2.0), 9.0, 20),
    (SwapCurve(q=0.5, mu=2.4), 9.0, 15), (SwapCurve(q=0.5, mu=2.4), 40.0, 15), (RemoveCurve(q=0.18, mu=0.12), 1.064, 28),
    (RemoveCurve(q=0.45, mu=0.14), 9.72, 20),
]  # fmt: skip


@pytest.mark.parametrize(("curve", "reach", "size"), COARSE, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("build", [pessimistic, optimistic])
def test_pairs_on_the_coarsest_grids_are_sound_too(curve, reach, size, build):
    """A few cells, so that a line on the wrong side shows in the second digit; every part of every cell is looked at."""
    below = build is optimistic
    grid = grid_for(curve, reach, size, below=below)
    pair = build(curve, grid)
    epsilons = np.linspace(1.2 * grid.start, 1.1 * grid.losses[-1], 4001)
    difference = excess_of(pair, epsilons) - curve.excess(epsilons)
    assert difference.max() <= 1e-14 if below else difference.min() >= -1e-14
    assert pair.masses.min() > -1e-14
    assert pair.masses.sum() + pair.at_infinity == pytest.approx(1, abs=1e-13)


def test_pairs_on_grids_at_random_are_sound_too():
    rng = np.random.default_rng(3)
    for _ in range(150):
        kind = [RemoveCurve, ReplaceCurve, SwapCurve][rng.integers(3)]
        curve = kind(q=float(10 ** rng.uniform(-3, -0.01)), mu=float(10 ** rng.uniform(-1, 0.8)))
        grid = grid_for(curve, 10 ** rng.uniform(-1.5, 1.0), int(rng.integers(7, 40)), below=True)
        if grid.size < grid.pivot + 3:
            continue
        epsilons = np.linspace(1.2 * grid.start, min(6.0, 1.1 * grid.losses[-1]), 401)
        assert (excess_of(optimistic(curve, grid), epsilons) <= curve.excess(epsilons) + 1e-13).all()


@pytest.mark.parametrize("curve", [RemoveCurve(q=0.6, mu=1.0), ReplaceCurve(q=0.5, mu=1.0), SwapCurve(q=0.5, mu=1.0)])
def test_a_tangent_at_loss_zero_itself_is_below_the_curve(curve):
    """The middle of the second cell is 0 to the last digit, where the line that excess is counted over changes."""
    grid = Grid(start=-0.75, step=0.5, size=14)
    assert grid.losses[1] + grid.step / 2 == 0.0
    epsilons = np.linspace(-1.5, 6.0, 2001)
    assert (excess_of(optimistic(curve, grid), epsilons) <= curve.excess(epsilons) + 1e-14).all()


def test_a_tangent_at_loss_zero_is_as_steep_as_the_curve():
    """The same with cells of an eighth: it touches, so nothing near 0 is farther away than second order in the cell."""
    curve, grid = RemoveCurve(q=0.6, mu=1.0), Grid(start=-0.8125, step=0.125, size=60)
    assert grid.losses[6] + grid.step / 2 == 0.0
    epsilons = np.linspace(-1.0, 6.0, 2001)
    difference = excess_of(optimistic(curve, grid), epsilons) - curve.excess(epsilons)
    assert -0.002 < difference.min() < difference.max() < 1e-14


def test_where_no_pair_on_the_grid_is_below_the_curve_a_knot_is_put_at_zero():
    curve = RemoveCurve(q=1e-3, mu=0.1)  # next to nothing, beside cells of a tenth around -0.15, -0.05 and 0.05
    for start, pivot in ((-0.15, 2), (-0.05, 1)):
        pair = optimistic(curve, Grid(start=start, step=0.1, size=30))
        assert (pair.grid.start, pair.grid.losses[pivot], pair.grid.size) == (-0.1 * pivot, 0.0, 30)
        epsilons = np.linspace(-0.3, 1.0, 1001)
        assert (excess_of(pair, epsilons) <= curve.excess(epsilons) + 1e-15).all()
    kept = Grid(start=-0.2, step=0.1, size=30)
    assert optimistic(curve, kept).grid == kept


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


@pytest.mark.parametrize(
    ("start", "step", "pivot"), [(-0.3, 0.1, 3), (-0.25, 0.1, 3), (-0.01, 0.1, 1), (0.5, 0.1, 1), (-1.0, 0.5, 2)]
)
def test_the_pivot_is_the_first_knot_that_is_not_below_zero(start, step, pivot):
    grid = Grid(start=start, step=step, size=20)
    assert grid.pivot == pivot
    if start < 0:
        assert grid.losses[pivot - 1] < 1e-12
        assert grid.losses[pivot] > -1e-12
    np.testing.assert_allclose(grid.losses, [start + step * index for index in range(20)], rtol=1e-15)


def test_losses_beyond_the_range_exceed_less_than_the_budget():
    curve = RemoveCurve(q=0.1, mu=1.5)
    for budget in (1e-3, 1e-6, 1e-12):
        left, right = loss_range(curve, budget)
        x = np.array([right, right / 1.02, -left, -left / 1.02])
        value = curve.excess(x) * np.array([1.0, 1.0, math.exp(left), math.exp(left / 1.02)])
        assert value[0] <= budget < value[1]
        assert value[2] <= budget < value[3]


def test_losses_that_are_never_small_end_at_what_is_represented():
    assert _last_above(lambda loss: 1.0, 0.5) == LOSS_LIMIT == 690.0
    assert _last_above(lambda loss: 0.5, 0.5) <= 1.02e-12
    assert _last_above(lambda loss: 1.0 if loss < 689.0 else 0.0, 0.5) == pytest.approx(690.0, rel=0.02)
    edge = _last_above(lambda loss: 1.0 if loss < 3.0 else 0.0, 0.5)
    assert 3.0 <= edge <= 3.0 * 1.02


def test_masses_from_knots_are_those_of_the_straight_lines_between_them():
    """Three losses on either side of 0: slopes by definition, over 1 - gamma left of the pivot."""
    grid = Grid(start=-0.25, step=0.1, size=7)
    excess = np.array([1e-4, 0.01, 0.03, 0.035, 0.015, 0.004, 0.001])
    gamma = np.exp(grid.losses)
    total = np.maximum(0.0, 1 - gamma) + excess
    total[2] = 1 - gamma[2] + excess[2]
    slopes = np.concatenate([[(total[0] - 1) / gamma[0]], np.diff(total) / np.diff(gamma), [0.0]])
    pair = _from_knots(excess, grid, 7e-15)
    np.testing.assert_allclose(pair.masses, gamma * np.diff(slopes), rtol=1e-11)
    assert pair.at_infinity == 0.001
    assert pair.at_minus_infinity == pytest.approx(1 + slopes[0], rel=1e-12, abs=0.0)
    assert pair.rounding == 7e-15
    assert pair.masses.sum() + pair.at_infinity == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize(("curve", "reach", "size"), CASES, ids=lambda value: str(value)[:40])
def test_from_above_the_dots_are_connected(curve, reach, size):
    grid = grid_for(curve, reach, size, below=False)
    pair = pessimistic(curve, grid)
    assert pair.rounding == pytest.approx(3e-14 * curve.scale, rel=1e-12, abs=0.0)
    np.testing.assert_allclose(
        excess_of(pair, grid.losses), curve.excess(grid.losses), atol=3e-14 * curve.scale + 1e-15
    )


def test_rounding_from_below_counts_the_sums_of_the_regression():
    curve = RemoveCurve(q=0.3, mu=1.0)
    grid = Grid(start=-0.2, step=0.05, size=90)
    assert optimistic(curve, grid).rounding == pytest.approx(0.3 * (3e-14 + 3e-16 * 90), rel=1e-12, abs=0.0)


def test_a_mirrored_pair_exchanges_the_ends():
    pair = LossMasses(
        grid=Grid(start=-0.2, step=0.1, size=4), masses=np.array([0.1, 0.2, 0.3, 0.2]), at_infinity=0.2,
        at_minus_infinity=0.05, rounding=1e-15,
    )  # fmt: skip
    back = pair.reversed()
    assert (back.at_infinity, back.at_minus_infinity, back.rounding) == (0.05, 0.2, 1e-15)
    np.testing.assert_allclose(back.grid.losses, [-0.1, 0.0, 0.1, 0.2], atol=1e-15)
    expected = [0.2 * math.exp(-0.1), 0.3, 0.2 * math.exp(0.1), 0.1 * math.exp(0.2)]
    np.testing.assert_allclose(back.masses, expected, rtol=1e-14)


def test_the_convex_minorant_is_the_lower_hull():
    """Against the monotone chain on the points (gamma, value), the ends at gamma = 0 apart."""
    rng = np.random.default_rng(31)
    for trial in range(40):
        grid = Grid(start=-0.35, step=0.1, size=9) if trial % 2 else Grid(start=-0.1, step=0.1, size=6)
        excess = np.maximum(rng.normal(0.05, 0.05, grid.size), 0.0) * np.exp(-np.abs(grid.losses) * 3)
        excess[0] = excess[-1] = 0.0
        gamma, pivot = np.exp(grid.losses), grid.pivot
        trivial = np.where(np.arange(grid.size) < pivot, 1 - gamma, 0.0)
        hull: list[int] = []
        points = list(zip(gamma, trivial + excess, strict=True))
        for index, (x, y) in enumerate(points):
            while len(hull) > 1:
                (x0, y0), (x1, y1) = points[hull[-2]], points[hull[-1]]
                if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0):
                    break
                hull.pop()
            hull.append(index)
        slow = np.interp(gamma, gamma[hull], (trivial + excess)[hull]) - trivial
        found = _convex_minorant(excess, grid)
        np.testing.assert_allclose(found, slow, atol=1e-14)
        assert (found <= excess).all()


def summary(curve, reach, size, build):
    """Sums of the masses that any change moves."""
    pair = build(curve, grid_for(curve, reach, size, below=build is optimistic))
    losses = pair.grid.losses
    waves = np.cos(40 * losses / (losses[-1] - losses[0]))
    return (
        float(losses[0]),
        float(pair.masses @ waves),
        float(pair.masses @ np.abs(losses)),
        float(pair.masses @ losses**2),
    )


@pytest.mark.parametrize(("curve", "reach", "size"), CASES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("build", [pessimistic, optimistic])
def test_pairs_are_as_ever(curve, reach, size, build):
    """As recorded: soundness is tested above; how near a sound bound comes to the curve is not, to so many digits."""
    recorded = RECORDED[build.__name__][CASES.index((curve, reach, size))]
    assert summary(curve, reach, size, build) == pytest.approx(recorded, rel=1e-7, abs=0.0)


ANCHORS = [(RemoveCurve(q=0.004, mu=1.5), 0.01), (RemoveCurve(q=0.3, mu=1.0), 0.05), (RemoveCurve(q=0.3, mu=0.05), 1e-3),
           (RemoveCurve(q=0.9, mu=3.0), 0.4), (RemoveCurve(q=1e-5, mu=5.0), 1e-4)]  # fmt: skip


@pytest.mark.parametrize(("curve", "step"), ANCHORS, ids=lambda value: str(value)[:40])
def test_the_first_knot_from_below_lies_inside_the_losses(curve, step):
    """As recorded too: any such knot is sound, the choice is for the least gap."""
    kink = math.log1p(-curve.q)
    found = inner_anchor(curve, kink, step)
    assert kink < found <= kink / 2
    recorded = RECORDED["anchors"][ANCHORS.index((curve, step))]
    assert (found - kink) / step == pytest.approx(recorded, rel=1e-6, abs=0.0)


def test_without_a_usable_tangent_the_first_knot_is_a_quarter_of_a_cell_in():
    little = RemoveCurve(q=0.3, mu=0.05)  # next to the kink there is no mass that floats can hold
    kink = math.log1p(-0.3)
    assert inner_anchor(little, kink, 1e-3) == pytest.approx(kink + 0.25e-3, rel=1e-12, abs=0.0)


RECORDED = {  # by builder, in the order of the cases
    "pessimistic": [
        (-0.004008021397538818, 0.9987358011059903, 0.005940720891682406, 0.00014561931676312473),
        (-0.004008021397538818, 0.9961505508988001, 0.020883283106640192, 0.10752389514660418),
        (-0.35667494393873234, 0.2386375769215952, 0.25992768097523355, 0.13886345842796644),
        (-5e-05, 0.00028031166100451295, 7.978810930121714e-06, 1.0012055323409106e-10),
        (-6.0, 0.9851515420947249, 0.030849973562330348, 0.0029138967868456724),
        (-12.0, 0.9803655037393919, 0.03535651508614276, 0.04274683670621518),
        (-10.0, 0.26214686718296254, 0.8134816615023797, 1.2699948659127696),
    ],
    "optimistic": [
        (-0.0023042538810993246, 0.9988940150704746, 0.004109755372913151, 0.00012960190549655073),
        (-0.0037883499044088186, 0.9961634430296397, 0.02046760901961399, 0.10749149718346875),
        (-0.35667494312313924, 0.23871688120602177, 0.25990735030669815, 0.1388438661023571),
        (-5e-05, 0.00025907963464378366, 7.971886890721122e-06, 9.994327286918583e-11),
        (-6.0, 0.9855062340344867, 0.029961000941152727, 0.002849100334636428),
        (-12.0, 0.9804447425512757, 0.0348456477107041, 0.04268268669991128),
        (-10.0, 0.26223812453818834, 0.8133572940834969, 1.2697319090001822),
    ],
    "anchors": [
        0.17037675164394936,
        9.470202511074888e-08,
        0.24999999999997247,
        0.16347466607106953,
        0.0015861630696210672,
    ],
}
