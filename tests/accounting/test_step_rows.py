"""Rows of a schedule: which path is taken, what stands for what, and every number against the pairs one by one."""

import math

import numpy as np
import pytest

from dpaudit.accounting import step_rows
from dpaudit.accounting.discretise import Grid, inner_anchor, optimistic, pessimistic
from dpaudit.accounting.interpolation import Piece
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.accounting.step_rows import FEW, rows_of, steps_of, thinned

REMOVE = StepFamily(q=0.05, kind=PairKind.REMOVE)
REPLACE = StepFamily(q=0.05, kind=PairKind.REPLACE)
ANCHORED = Grid(start=math.log1p(-0.05), step=0.05, size=200)
SHORT = Grid(start=math.log1p(-0.05), step=0.05, size=60)
CENTRED = Grid(start=-3.0, step=0.05, size=121)


def levels(count, low=0.8, high=1.6):
    return tuple((float(sigma), 1 + index % 3) for index, sigma in enumerate(np.linspace(low, high, count)))


def test_few_levels_are_built_one_by_one_and_more_are_interpolated():
    few = steps_of(REMOVE, levels(FEW), ANCHORED, 2.0, from_above=True)
    assert few.weights is None
    assert few.masses.shape == (FEW, 200)
    many = steps_of(REMOVE, levels(100), ANCHORED, 2.0, from_above=True)
    assert many.weights is not None
    assert many.weights.shape == (100, len(many.masses))
    assert len(many.masses) < 100
    hardly = steps_of(REMOVE, levels(FEW + 1), ANCHORED, 2.0, from_above=True)
    assert hardly.weights is None  # 32 nodes save nothing
    assert len(hardly.masses) == FEW + 1


def test_from_below_and_where_it_cannot_be_nothing_is_interpolated():
    assert len(steps_of(REMOVE, levels(100), ANCHORED, 2.0, from_above=False).masses) == 100
    assert len(steps_of(REPLACE, levels(100), CENTRED, 2.0, from_above=True).masses) == 100


@pytest.mark.parametrize("from_above", [True, False])
def test_more_levels_than_are_built_are_grouped_on_the_sound_side(from_above, monkeypatch):
    monkeypatch.setattr(step_rows, "GROUPS", 40)
    exactly = steps_of(REPLACE, levels(40), CENTRED, 2.0, from_above=from_above)
    assert len(exactly.masses) == 40
    schedule = levels(41)
    over = steps_of(REPLACE, schedule, CENTRED, 2.0, from_above=from_above)
    assert len(over.masses) <= 40
    assert over.counts.sum() == sum(count for _, count in schedule)
    # moments rise where noise is taken for less, and fall where it is taken for more
    all_of_them = rows_of(REPLACE, schedule, CENTRED, from_above=from_above)
    gap = float((over.log_moments(np.array([2.0])) - all_of_them.log_moments(np.array([2.0])))[0])
    assert (gap > 0) if from_above else (gap < 0)
    assert abs(gap) < 0.05 * float(all_of_them.log_moments(np.array([2.0]))[0])


def grouped(schedule, groups, importance):
    """The slow twin: a running sum of widths (or of roots of importance times width), cut into equal parts."""
    logs = [math.log(sigma) for sigma, _ in schedule]
    last = len(logs) - 1
    widths = [
        logs[1] - logs[0],
        *((logs[k + 1] - logs[k - 1]) / 2 for k in range(1, last)),
        logs[last] - logs[last - 1],
    ]
    parts = widths if importance is None else [math.sqrt(i * w) for i, w in zip(importance, widths, strict=True)]
    found, position, total = {}, 0.0, math.fsum(parts)
    for (sigma, count), part in zip(schedule, parts, strict=True):
        position += part
        found.setdefault(min(int(position / total * groups), groups - 1), []).append((sigma, count))
    return list(found.values())


@pytest.mark.parametrize("from_above", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_groups_are_as_wide_as_they_should_be_and_stand_at_their_sound_end(from_above, weighted):
    schedule = tuple((1.01**k * (0.5 + (k / 100) ** 3), 1 + k % 4) for k in range(137))
    importance = np.array([1.0 + k**2 for k in range(137)]) if weighted else None
    expected = [
        (group[0][0] if from_above else group[-1][0], sum(count for _, count in group))
        for group in grouped(schedule, 10, importance)
    ]
    assert list(thinned(schedule, 10, from_above=from_above, importance=importance)) == expected
    assert len(expected) >= 8


def test_by_default_as_many_as_stand_for_a_schedule():
    assert len(thinned(levels(1000))) == 24
    assert thinned(levels(1000))[0][0] == 0.8


@pytest.mark.parametrize("from_above", [True, False])
@pytest.mark.parametrize(("family", "grid"), [(REMOVE, SHORT), (REMOVE, CENTRED), (REPLACE, CENTRED)])
def test_rows_are_the_pairs_of_their_levels(family, grid, from_above):
    schedule = ((0.7, 3), (1.1, 1), (2.0, 5))
    made = rows_of(family, schedule, grid, from_above=from_above)
    curves, counts = [family.curve(sigma) for sigma, _ in schedule], [count for _, count in schedule]
    if from_above:
        pairs, shifts = [pessimistic(curve, grid) for curve in curves], None
    elif grid is SHORT:
        starts = [inner_anchor(curve, grid.start, grid.step) for curve in curves]
        pairs = [
            optimistic(curve, Grid(start=start, step=grid.step, size=grid.size))
            for curve, start in zip(curves, starts, strict=True)
        ]
        shifts = [pair.grid.start - grid.start for pair in pairs]
    else:
        pairs, shifts = [optimistic(curve, grid) for curve in curves], None
    np.testing.assert_array_equal(made.masses, np.stack([pair.masses for pair in pairs]))
    assert made.counts.tolist() == counts
    assert (None if made.shifts is None else made.shifts.tolist()) == shifts
    infinite = 1 - math.prod((1 - pair.at_infinity) ** count for pair, count in zip(pairs, counts, strict=True))
    mirrored = 1 - math.prod((1 - pair.at_minus_infinity) ** count for pair, count in zip(pairs, counts, strict=True))
    assert made.infinity == pytest.approx(infinite, rel=1e-6, abs=1e-16)
    assert made.minus_infinity == pytest.approx(mirrored, rel=1e-6, abs=1e-16)
    assert (made.infinity > 1e-12) == from_above
    rounding = math.fsum(pair.rounding * count for pair, count in zip(pairs, counts, strict=True))
    assert made.rounding == pytest.approx(rounding, rel=1e-12, abs=0.0)
    assert (made.weights, made.curve_error, made.envelope, made.grid) == (None, None, None, grid)


def test_the_chance_of_any_is_that_of_not_none():
    any_of = step_rows._any_of
    assert any_of(np.array([0.5, 0.1]), np.array([2.0, 3.0])) == pytest.approx(1 - 0.25 * 0.729, rel=1e-14)
    assert any_of(np.array([1e-20]), np.array([3.0])) == pytest.approx(3e-20, rel=1e-12, abs=0.0)
    assert any_of(np.array([1.0]), np.array([1.0])) == pytest.approx(1.0)
    assert any_of(np.array([2.0]), np.array([1.0])) == pytest.approx(1.0)
    assert any_of(np.array([-1e-17, -3.0]), np.array([1.0, 1.0])) == 0.0


@pytest.fixture(scope="module")
def interpolated():
    schedule = levels(150)
    return schedule, steps_of(REMOVE, schedule, ANCHORED, 2.0, from_above=True)


def test_interpolated_rows_are_the_exact_ones(interpolated):
    schedule, made = interpolated
    exact = rows_of(REMOVE, schedule[::-1], ANCHORED, from_above=True)
    assert made.counts.tolist() == exact.counts.tolist()
    np.testing.assert_allclose(made.weights.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(made.weights @ made.masses, exact.masses, atol=2e-12)
    assert made.shifts is None


def test_interpolated_rows_carry_their_errors(interpolated):
    """Each column block is a piece of 32 nodes; the largest error of any, and rounding grown by the Lebesgue constant."""
    schedule, made = interpolated
    total, nodes = sum(count for _, count in schedule), len(made.masses)
    lebesgue = float(np.abs(made.weights).sum(axis=1).max())
    assert 1.0 <= lebesgue < 4.0
    assert made.rounding == pytest.approx(total * lebesgue * 3e-14 * REMOVE.q, rel=1e-9, abs=0.0)
    assert made.curve_error.shape == (200,)
    assert nodes % 32 == 0
    tilted = np.exp(2.0 * ANCHORED.losses) @ made.curve_error * 4 / ANCHORED.step * total
    assert 0 < tilted < 2e-9


def test_the_envelope_dominates(interpolated):
    schedule, made = interpolated
    exact, thetas = rows_of(REMOVE, schedule, ANCHORED, from_above=True), np.array([0.3, 1.0, 4.0])
    assert (made.envelope.log_moments(thetas) >= exact.log_moments(thetas)).all()
    assert made.envelope.counts.sum() == exact.counts.sum()
    assert len(made.envelope.masses) == 48
    assert made.infinity == made.envelope.infinity >= exact.infinity > 0
    assert made.minus_infinity == made.envelope.minus_infinity


def test_beyond_so_many_levels_the_interpolated_ones_are_thinned_too(monkeypatch):
    monkeypatch.setattr(step_rows, "_MAX_INTERPOLATED", 90)
    assert len(steps_of(REMOVE, levels(90), ANCHORED, 2.0, from_above=True).counts) == 90
    made, schedule = steps_of(REMOVE, levels(91), ANCHORED, 2.0, from_above=True), levels(91)
    assert len(made.counts) <= 90
    assert made.counts.sum() == sum(count for _, count in schedule)
    assert made.envelope.counts.sum() == made.counts.sum()


def test_pieces_are_as_wide_as_the_wanted_error_allows(monkeypatch):
    """One piece if, and only if, its error moves the tilted masses of all steps by at most 1e-9: a tenth less, a tenth more."""

    def schedule(high):
        return levels(300, 0.8, high)

    def moved(high):
        errors = REMOVE.interpolation_error(Piece(low=1 / high, high=1 / 0.8), ANCHORED.losses)
        return (
            float(np.exp(2.0 * ANCHORED.losses) @ errors)
            * 4
            / ANCHORED.step
            * sum(count for _, count in schedule(high))
        )

    for wanted, single in ((0.9e-9, True), (1.1e-9, False)):
        low, high = 0.81, 4.0
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if moved(middle) < wanted else (low, middle)
        made = steps_of(REMOVE, schedule(low), ANCHORED, 2.0, from_above=True)
        assert (len(made.masses) == 32) == single
    monkeypatch.setattr(step_rows, "_NOISE", 1e-300)
    assert steps_of(REMOVE, levels(60), ANCHORED, 2.0, from_above=True).weights is None


def test_interpolation_must_save_rows():
    narrow = [steps_of(REMOVE, levels(count, 0.8, 0.9), ANCHORED, 2.0, from_above=True) for count in (32, 33)]
    assert [steps.weights is None for steps in narrow] == [True, False]


def test_the_error_is_that_of_the_worst_piece(monkeypatch):
    parts = [Piece(low=1 / 1.6, high=1.1), Piece(low=1.1000001, high=1 / 0.8)]
    monkeypatch.setattr(step_rows, "pieces", lambda mus, affordable: parts)
    schedule = levels(200)
    made, losses = steps_of(REMOVE, schedule, ANCHORED, 2.0, from_above=True), ANCHORED.losses
    both = [REMOVE.interpolation_error(part, losses) for part in parts]
    assert (both[0][1:] > both[1][1:]).all()
    np.testing.assert_array_equal(made.curve_error, np.maximum(*both))
    exact = rows_of(REMOVE, schedule[::-1], ANCHORED, from_above=True)
    np.testing.assert_allclose(made.weights @ made.masses, exact.masses, atol=2e-12)


def test_importance_is_the_share_of_the_moments():
    schedule = levels(400, 0.7, 3.0)
    found = step_rows._importance(REPLACE, schedule, CENTRED, 2.0)
    counts = dict(schedule)
    at = {sigma: number for number, (sigma, _) in enumerate(schedule)}
    for sigma, _ in thinned(schedule):
        row = rows_of(REPLACE, ((sigma, 1),), CENTRED, from_above=True).row_log_moments(2.0)[0]
        assert found[at[sigma]] == pytest.approx(row * counts[sigma], rel=1e-9)
    assert (found > 0).all()


def test_importance_of_steps_that_cost_nothing_is_not_below_zero():
    far = tuple((1e6 + sigma, count) for sigma, count in levels(400))
    assert (step_rows._importance(REPLACE, far, CENTRED, 2.0) >= 0).all()
