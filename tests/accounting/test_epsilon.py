"""How a trace's ends are chosen: every branch by name, and what each hands to the parts, which have their own tests."""

import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

from dpaudit.accounting import epsilon as module
from dpaudit.accounting.discretise import LOSS_LIMIT
from dpaudit.accounting.epsilon import (
    _composed,
    _lower,
    _one_step,
    _total_variation,
    _upper,
    epsilon_bracket,
    upper_end,
)
from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.accounting.privacy_curves import RemoveCurve, ReplaceCurve
from dpaudit.accounting.step_family import PairKind, StepFamily
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UnsupportedCellError, UsageError

DELTA = 1e-5
FIXED = {"sampler": Sampler.FIXED_SIZE, "relation": Relation.REPLACE_ONE, "rows": Rows.CONSTANT}
TRUNCATED = {"sampler": Sampler.TRUNCATED_POISSON, "relation": Relation.ZERO_OUT, "rows": Rows.CONSTANT}
SHUFFLED = {"sampler": Sampler.SHUFFLE, "relation": Relation.ZERO_OUT, "rows": Rows.CONSTANT}


def trace(sigmas=(2.0, 2.0, 3.0), q=0.1, preparation=(), **cell):
    return EventTrace(
        cell=Cell(**cell), sampling_probability=q, sigmas=tuple(sigmas), steps_per_epoch=len(sigmas), batch_size=100,
        dataset_size=1000, preparation=preparation,
    )  # fmt: skip


def ends(asked, delta=DELTA):
    """(lower, its method), (upper, its method), without the memory of earlier calls."""
    return _lower(asked, delta), _upper.__wrapped__(asked, delta)


@pytest.fixture
def composed(monkeypatch):
    """A composition that answers as told, and remembers what it was asked."""
    told = SimpleNamespace(above=1.0, below=0.5, asked=[])

    def answer(family, schedule, delta, before, *, from_above):
        told.asked.append((family, schedule, delta, before, from_above))
        return told.above if from_above else told.below

    monkeypatch.setattr(module, "_composed", answer)
    return told


def test_delta_is_a_probability():
    for delta in (-1e-9, 1.0 + 1e-9, math.nan):
        with pytest.raises(UsageError, match=r"epsilon_bracket: delta must lie in \[0, 1\]"):
            epsilon_bracket(trace(), delta)
    assert epsilon_bracket(trace(), 0).lower == math.inf
    assert epsilon_bracket(trace(), 1).upper == 0.0
    for ask in (epsilon_bracket, upper_end):
        with pytest.raises(UnsupportedCellError):
            ask(trace(rows=Rows.CONSTANT), DELTA)


def test_the_bracket_is_made_of_both_ends():
    (lower, below), (upper, above) = ends(trace())
    bracket = epsilon_bracket(trace(), DELTA)
    assert (bracket.lower, bracket.lower_method, bracket.upper, bracket.upper_method) == (lower, below, upper, above)
    assert upper_end(trace(), DELTA) == upper
    assert 0 < lower < upper
    assert (below, above) == ("privacy loss distribution, optimistic", "privacy loss distribution, pessimistic")


def test_shuffle_has_its_own_bracket_and_no_preparation():
    asked = trace(**SHUFFLED)
    bracket = epsilon_bracket(asked, DELTA)
    assert bracket.upper == upper_end(asked, DELTA) == gaussian_epsilon(0.5, DELTA)[1]
    assert "epoch" in bracket.lower_method
    for ask in (epsilon_bracket, upper_end):
        with pytest.raises(UnsupportedCellError, match="shuffle has no answer"):
            ask(trace(preparation=(5.0,), **SHUFFLED), DELTA)


def test_branches_without_a_composition(composed):
    for delta in (1.0, 1.5):
        assert ends(trace(), delta) == ((0.0, "delta 1 allows anything"),) * 2
        assert ends(trace((0.0,)), delta) == ((0.0, "delta 1 allows anything"),) * 2
    silent = trace((math.inf, math.inf))
    assert ends(silent) == ((0.0, "no step releases anything"),) * 2
    assert ends(silent, 0.0) == ((0.0, "no step releases anything"),) * 2
    assert ends(trace(), 0.0) == ((math.inf, "Gaussian losses are unbounded"),) * 2
    prepared = trace((math.inf,), preparation=(4.0,))
    assert ends(prepared, 0.0) == ((math.inf, "Gaussian losses are unbounded"),) * 2
    low, high = gaussian_epsilon(0.25, DELTA)
    method = "Gaussian, the preparation alone"
    assert ends(prepared) == ((low, method), (high, method))
    low, high = gaussian_epsilon(0.5, DELTA)
    replaced = trace((math.inf,), preparation=(4.0,), relation=Relation.REPLACE_ONE)
    assert ends(replaced) == ((low, method), (high, method))
    assert not composed.asked


@pytest.mark.parametrize(("zeros", "q"), [(1, 9e-6), (1, 1.1e-5), (3, 3.4e-6), (3, 3.3e-6), (2, 1.0), (1, 0.5)])
def test_steps_without_noise_show_the_row_as_often_as_it_is_drawn(composed, zeros, q):
    (lower, below), (upper, above) = ends(trace((2.0, *[0.0] * zeros), q=q))
    assert (upper, above) == (math.inf, "a step without noise")
    if 1 - (1 - q) ** zeros > DELTA:
        assert (lower, below) == (math.inf, "the row is released without noise with probability above delta")
    else:
        assert (lower, below) == (0.5, "privacy loss distribution, optimistic")


@pytest.mark.parametrize(("relation", "reach"), [(Relation.ADD_REMOVE, 1.0), (Relation.REPLACE_ONE, 2.0)])
def test_without_sampling_both_ends_are_the_gaussian(composed, relation, reach):
    mu = reach * math.sqrt(1 / 4 + 1 / 4 + 1 / 9)
    low, high = gaussian_epsilon(mu, DELTA)
    (lower, below), (upper, above) = ends(trace(q=1.0, relation=relation))
    assert (lower, upper) == pytest.approx((low, high), rel=1e-12)
    assert (below, above) == ("Gaussian, exact", "Gaussian, no amplification")
    mu = reach * math.sqrt(1 / 4 + 1 / 4 + 1 / 9 + 1 / 25)
    prepared = ends(trace(q=1.0, relation=relation, preparation=(5.0,)))
    assert (prepared[0][0], prepared[1][0]) == pytest.approx(gaussian_epsilon(mu, DELTA), rel=1e-12)
    assert not composed.asked


def test_a_batch_of_everything_that_is_not_poisson_is_composed_from_above(composed):
    composed.above = 0.01
    low, high = gaussian_epsilon(2 * math.sqrt(1 / 4 + 1 / 4 + 1 / 9), DELTA)
    asked = EventTrace(
        cell=Cell(**FIXED), sampling_probability=1.0, sigmas=(2.0, 2.0, 3.0), batch_size=10, dataset_size=10
    )
    (lower, below), (upper, above) = ends(asked)
    assert (lower, below) == (pytest.approx(low, rel=1e-12), "Gaussian, exact")
    assert (upper, above) == (0.01, "privacy loss distribution, pessimistic")
    composed.above = math.inf
    assert ends(asked)[1] == (pytest.approx(high, rel=1e-12), "Gaussian, no amplification")


def test_what_is_composed_is_the_family_the_levels_and_the_preparation(composed):
    assert ends(trace(preparation=(4.0,))) == (
        (0.5, "privacy loss distribution, optimistic"), (1.0, "privacy loss distribution, pessimistic"),
    )  # fmt: skip
    plain, schedule = StepFamily(q=0.1, kind=PairKind.REMOVE), ((2.0, 2), (3.0, 1))
    assert composed.asked == [(plain, schedule, DELTA, 0.25, False), (plain, schedule, DELTA, 0.25, True)]
    composed.asked.clear()
    (lower, below), _ = ends(trace(q=0.09, **TRUNCATED))
    assert composed.asked[0][0].q < 0.09
    assert below == f"privacy loss distribution, optimistic, Poisson pair at q = {composed.asked[0][0].q:.6g}"
    assert lower == 0.5
    assert composed.asked[1][0].truncation is not None
    assert composed.asked[1][3] == 0.0
    composed.asked.clear()
    ends(trace(**FIXED))
    assert composed.asked[0][0] == StepFamily(q=0.1, kind=PairKind.REMOVE, reach=2.0)
    assert composed.asked[1][0] == StepFamily(q=0.1, kind=PairKind.SWAP, reach=2.0)


def test_the_upper_end_is_the_least_of_what_holds(composed, monkeypatch):
    monkeypatch.setattr(module, "rdp_epsilon", lambda asked, delta: 0.7)
    coarse = gaussian_epsilon(math.sqrt(1 / 4 + 1 / 4 + 1 / 9), DELTA)[1], "Gaussian, no amplification"
    composed.above = 2 * coarse[0]
    assert ends(trace())[1] == pytest.approx(coarse)
    composed.above = math.inf
    for relation in (Relation.ADD_REMOVE, Relation.ZERO_OUT):
        assert ends(trace(relation=relation))[1] == (0.7, "Renyi, Poisson sampling")
    monkeypatch.setattr(module, "rdp_epsilon", lambda asked, delta: 9e9)
    assert ends(trace())[1] == pytest.approx(coarse)
    twice = gaussian_epsilon(2 * math.sqrt(1 / 4 + 1 / 4 + 1 / 9), DELTA)[1], "Gaussian, no amplification"
    monkeypatch.setattr(module, "rdp_epsilon", lambda asked, delta: 0.0)
    for cell in (FIXED, TRUNCATED, {"relation": Relation.REPLACE_ONE}):  # no Renyi bound of the library applies
        assert ends(trace(q=0.09 if cell is TRUNCATED else 0.1, **cell))[1] == pytest.approx(twice)


FAMILY, SCHEDULE = StepFamily(q=0.1, kind=PairKind.REMOVE), ((2.0, 40), (3.0, 512))


@pytest.fixture
def curves(monkeypatch):
    """Composed curves that give 1.0 and 3.0 in the two directions, where no level counts more than ``most``."""
    seen = SimpleNamespace(parts=[], most=10**9, answers=(1.0, 3.0))

    def compositions(family, schedule, log_delta, *, from_above):
        seen.parts.append(schedule)
        assert log_delta == math.log(DELTA)
        if max(count for _, count in schedule) > seen.most:
            raise OverflowError
        return tuple(
            SimpleNamespace(
                epsilon=lambda delta, pessimistic, answer=answer: answer if pessimistic == from_above else None
            )
            for answer in seen.answers
        )

    monkeypatch.setattr(module, "compositions", compositions)
    return seen


def test_the_worse_direction_is_rounded_outwards(curves):
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=True) == 3.0 * (1 + 1e-8)
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=False) == 3.0 * (1 - 1e-8)
    assert curves.parts == [SCHEDULE] * 2


def test_from_below_fewer_steps_stand_for_what_no_grid_holds(curves):
    curves.most = 40
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=False) == 3.0 * (1 - 1e-8)
    assert curves.parts == [SCHEDULE, ((2.0, 2), (3.0, 32))]
    curves.most, curves.parts = 30, []
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=False) == 3.0 * (1 - 1e-8)
    assert curves.parts[2:] == [((2.0, 1), (3.0, 2))]
    curves.most = 1
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=False) == 0.0
    curves.parts = []
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=True) == math.inf
    assert curves.parts == [SCHEDULE]


def test_an_end_of_zero_from_below_is_tried_with_fewer_steps_and_one_from_above_stands(curves):
    curves.answers = (0.0, 0.0)
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=False) == 0.0
    assert len(curves.parts) == 3
    curves.parts = []
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.0, from_above=True) == 0.0
    assert len(curves.parts) == 1


def test_a_preparation_is_composed_with_the_curves(curves, monkeypatch):
    def prepared(found, mu, delta, *, from_above):
        assert (len(found), mu, delta) == (2, 0.25, DELTA)
        return 7.0 if from_above else 5.0

    monkeypatch.setattr(module, "prepared_epsilon", prepared)
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.25, from_above=True) == 7.0 * (1 + 1e-8)
    assert _composed(FAMILY, SCHEDULE, DELTA, 0.25, from_above=False) == 5.0 * (1 - 1e-8)
    one = ((2.0, 1),)
    assert _composed(FAMILY, one, DELTA, 0.25, from_above=True) == 7.0 * (1 + 1e-8)


def test_a_single_step_is_read_from_its_own_curve(curves):
    low, high = _one_step(FAMILY.curve(2.0), DELTA)
    assert _composed(FAMILY, ((2.0, 1),), DELTA, 0.0, from_above=True) == high * (1 + 1e-8)
    assert _composed(FAMILY, ((2.0, 1),), DELTA, 0.0, from_above=False) == low * (1 - 1e-8)
    assert not curves.parts
    _composed(FAMILY, ((2.0, 2),), DELTA, 0.0, from_above=True)
    _composed(FAMILY, ((2.0, 1), (3.0, 1)), DELTA, 0.0, from_above=True)
    assert len(curves.parts) == 2


def test_what_the_total_variation_pays_for_costs_nothing(curves):
    """delta(0) <= the sum over steps, and the preparation's: at exactly that delta epsilon is 0, a little below it is not."""
    family, schedule = StepFamily(q=1e-6, kind=PairKind.REMOVE), ((1.0, 3), (2.0, 4))
    variation = 1e-6 * math.fsum(count * math.erf(1 / sigma / math.sqrt(8)) for sigma, count in schedule)
    assert _total_variation(family, schedule) == pytest.approx(variation, rel=1e-12)
    exactly = _total_variation(family, schedule)
    for from_above in (True, False):
        assert _composed(family, schedule, exactly, 0.0, from_above=from_above) == 0.0
        assert (
            _composed(
                family, schedule, exactly + math.erf(1e-3 / math.sqrt(8)) * (1 + 1e-9), 1e-3, from_above=from_above
            )
            == 0.0
        )
    assert not curves.parts


def test_a_preparation_counts_towards_the_total_variation(curves, monkeypatch):
    monkeypatch.setattr(module, "prepared_epsilon", lambda *asked, from_above: 7.0)
    family, schedule = StepFamily(q=1e-6, kind=PairKind.REMOVE), ((1.0, 3),)
    assert _composed(family, schedule, DELTA, 1e-5, from_above=True) == 0.0
    assert _composed(family, schedule, DELTA, 1e-3, from_above=True) == 7.0 * (1 + 1e-8)


def test_beyond_64_levels_the_total_variation_is_not_asked():
    levels = tuple((1.0 + number / 100, 1) for number in range(65))
    assert _total_variation(FAMILY, levels) == math.inf
    assert _total_variation(FAMILY, levels[:64]) < 64


@pytest.mark.parametrize(
    "curve", [RemoveCurve(q=0.1, mu=0.7), RemoveCurve(q=0.95, mu=0.1), ReplaceCurve(q=0.3, mu=1.5)]
)
@pytest.mark.parametrize("delta", [1e-3, 1e-9])
def test_one_step_is_enclosed_to_the_last_digits(curve, delta):
    """Either direction of the pair; where delta(0) is below delta, 0 from below and next to nothing from above."""

    def worst(at):
        right, left = curve.excess(np.array([at, -at]))
        return max(right, left * math.exp(at))

    low, high = _one_step(curve, delta)
    assert worst(low) >= delta >= worst(high)
    assert high - low <= 1e-12 * max(high, 1.0)


def test_one_step_in_either_direction_by_mpmath():
    """The dearer of the two at delta 0.6 is removing a row, as at every epsilon above 0."""
    q, mu, delta = mpmath.mpf("0.9"), mpmath.mpf(2), mpmath.mpf("0.6")

    def add(at):  # N(0) against the mixture, where its likelihood ratio is above e^at
        end = (mpmath.log((mpmath.exp(-at) - 1 + q) / q) + mu**2 / 2) / mu
        return mpmath.ncdf(end) - mpmath.exp(at) * ((1 - q) * mpmath.ncdf(end) + q * mpmath.ncdf(end - mu))

    def remove(at):
        end = (mpmath.log((mpmath.exp(at) - 1 + q) / q) + mu**2 / 2) / mu
        return (1 - q) * mpmath.ncdf(-end) + q * mpmath.ncdf(mu - end) - mpmath.exp(at) * mpmath.ncdf(-end)

    with mpmath.workdps(30):
        added = mpmath.findroot(lambda at: add(at) - delta, (0.01, 0.5), solver="anderson")
        removed = mpmath.findroot(lambda at: remove(at) - delta, (0.01, 0.5), solver="anderson")
        truth = float(max(added, removed))
    low, high = _one_step(RemoveCurve(q=0.9, mu=2.0), 0.6)
    assert low == pytest.approx(truth, rel=1e-9)
    assert high == pytest.approx(truth, rel=1e-9)


def test_one_step_beyond_the_losses_that_are_represented():
    assert _one_step(RemoveCurve(q=0.9, mu=60.0), 1e-9) == (LOSS_LIMIT, math.inf)
    assert _one_step(RemoveCurve(q=1e-6, mu=1.0), 0.5) == (0.0, pytest.approx(0.0, abs=1e-20))
