"""Brackets: containment of independent truths, edge cases, refusals, monotonicity."""

import itertools
import math

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as library
from dp_accounting.privacy_accountant import NeighboringRelation
from hypothesis import given, settings
from hypothesis import strategies as st

from dpaudit.accounting import epsilon_bracket, rdp_epsilon
from dpaudit.accounting.cells import ANSWERED, unamplified_mu
from dpaudit.accounting.epsilon import upper_end
from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.accounting.renyi import _rounded_down
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UnsupportedCellError, UsageError

DELTA = 1e-5


def trace(q, sigmas, relation=Relation.ADD_REMOVE, sampler=Sampler.POISSON, **more):
    rows = Rows.SAMPLED if sampler is Sampler.POISSON else Rows.CONSTANT
    cell = Cell(sampler=sampler, relation=relation, rows=rows)
    return EventTrace(cell=cell, sampling_probability=q, sigmas=tuple(map(float, sigmas)), **more)


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.REPLACE_ONE])
@pytest.mark.parametrize("sigmas", [(0.7, 0.9, 1.3), (0.5,), (1.0, 1.0, 2.0, 5.0), tuple(np.linspace(0.8, 1.6, 30))])
def test_bracket_contains_the_library_composed_step_by_step(relation, sigmas):
    """The slow twin: dp-accounting 0.6 composes one step after the other, pessimistically, on its own fine grid."""
    relations = {
        Relation.ADD_REMOVE: NeighboringRelation.ADD_OR_REMOVE_ONE,
        Relation.REPLACE_ONE: NeighboringRelation.REPLACE_ONE,
    }
    composed = library.identity(value_discretization_interval=1e-3)
    for sigma in sigmas:
        step = library.from_gaussian_mechanism(
            sigma, sampling_prob=0.05, neighboring_relation=relations[relation], value_discretization_interval=1e-3
        )
        composed = composed.compose(step)
    slow = composed.get_epsilon_for_delta(DELTA)
    bracket = epsilon_bracket(trace(0.05, sigmas, relation), DELTA)
    assert bracket.lower <= slow * (1 + 1e-6)
    assert bracket.upper == pytest.approx(slow, rel=1e-3)
    assert bracket.relative_width < 2e-3


def test_truncated_event_agrees_with_the_library():
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-3)
    event = dp_event.TruncatedSubsampledGaussianDpEvent(
        dataset_size=1000, sampling_probability=0.02, truncated_batch_size=26, noise_multiplier=1.0
    )
    slow = accountant.compose(event, 50).get_epsilon(DELTA)
    found = epsilon_bracket(
        trace(0.02, (1.0,) * 50, sampler=Sampler.TRUNCATED_POISSON, batch_size=26, dataset_size=1000), DELTA
    )
    # ours bounds the swap of two rows by SwapCurve, which is at most as large as the library's ReplaceCurve
    assert found.upper <= slow * (1 + 1e-4)
    assert found.upper == pytest.approx(slow, rel=0.02)


@pytest.mark.parametrize(("q", "sigma", "steps"), [(0.01, 1.0, 200), (0.05, 2.0, 500)])
def test_a_third_accountant_agrees(q, sigma, steps):
    """Opacus's PRV accountant (Gopi et al. 2021), whose epsilon is an upper bound that overshoots by at most 2 eps_error."""
    prv = pytest.importorskip("opacus.accountants.prv", reason="opacus is not installed")
    accountant = prv.PRVAccountant()
    accountant.history = [(sigma, q, steps)]
    found = accountant.get_epsilon(DELTA, eps_error=0.01, delta_error=DELTA / 1000)
    bracket = epsilon_bracket(trace(q, (sigma,) * steps), DELTA)
    assert bracket.lower <= found
    assert found - 0.025 <= bracket.upper


@pytest.mark.parametrize(("relation", "reach"), [(Relation.ADD_REMOVE, 1), (Relation.REPLACE_ONE, 2)])
def test_without_sampling_it_is_the_exact_gaussian(relation, reach):
    sigmas = (3.0, 4.0, 12.0)
    mu = reach * math.sqrt(sum(sigma**-2 for sigma in sigmas))
    bracket = epsilon_bracket(trace(1.0, sigmas, relation), DELTA)
    assert (bracket.lower, bracket.upper) == pytest.approx(gaussian_epsilon(mu, DELTA), rel=1e-12)
    assert bracket.relative_width < 1e-8


def test_the_gaussian_without_amplification_counts_every_step():
    assert unamplified_mu(trace(0.1, (3.0, 4.0, math.inf), preparation=(12.0,))) == pytest.approx(
        math.hypot(1 / 3, 1 / 4, 1 / 12)
    )
    assert unamplified_mu(trace(0.1, (4.0,), Relation.REPLACE_ONE)) == 0.5
    assert unamplified_mu(trace(0.1, (4.0,), Relation.ZERO_OUT, Sampler.TRUNCATED_POISSON)) == 0.5
    assert unamplified_mu(trace(0.1, (1.0, 0.0))) == math.inf


def test_nearly_no_sampling_approaches_the_exact_gaussian():
    """The same pair through the whole machinery: q just below 1."""
    bracket = epsilon_bracket(trace(1 - 1e-12, (3.0,) * 4), DELTA)
    exact = gaussian_epsilon(2 / 3, DELTA)[0]
    assert bracket.lower <= exact * (1 + 1e-9)
    assert bracket.upper >= exact * (1 - 1e-6)
    assert bracket.relative_width < 1e-3


def test_fixed_size_batches_cost_what_the_worst_rows_make_them_cost():
    """At B = N every batch is the data set, and a replaced row moves the sum by 2 S: mu = 2/sigma. A bound that counted S would
    fall below this exact value."""
    more = {"batch_size": 100, "dataset_size": 100, "sampler": Sampler.FIXED_SIZE, "relation": Relation.REPLACE_ONE}
    bracket = epsilon_bracket(trace(1.0, (2.0,), **more), DELTA)
    low, high = gaussian_epsilon(1.0, DELTA)
    assert bracket.lower <= high
    assert bracket.upper >= low
    assert bracket.relative_width < 1e-3


def test_fixed_size_is_below_the_renyi_bound_and_above_the_poisson_pair():
    q = 50 / 5000
    more = {"batch_size": 50, "dataset_size": 5000, "sampler": Sampler.FIXED_SIZE, "relation": Relation.REPLACE_ONE}
    bracket = epsilon_bracket(trace(q, (2.0,) * 100, **more), DELTA)
    poisson = epsilon_bracket(trace(q, (2.0,) * 100, Relation.REPLACE_ONE), DELTA)
    assert poisson.lower <= bracket.lower <= bracket.upper <= rdp_epsilon(trace(q, (2.0,) * 100, **more), DELTA)
    assert bracket.relative_width < 0.2


def test_renyi_without_replacement_reproduces_the_library_number():
    """dp-accounting 0.6 prints 4.644 for noise 0.6508 in units of the distance that a replacement moves the sum, that is 2 S."""
    more = {"batch_size": 256, "dataset_size": 60000, "sampler": Sampler.FIXED_SIZE, "relation": Relation.REPLACE_ONE}
    assert rdp_epsilon(trace(256 / 60000, (2 * 0.6508,) * 1170, **more), DELTA) == pytest.approx(4.644, abs=5e-4)


@pytest.mark.parametrize("count", [257, 1000, 5000])
def test_renyi_rounds_many_sigmas_down_by_little(count):
    """At most 256 levels, each a sigma of the schedule, none above the sigmas that it stands for."""
    sigmas = np.sort(np.random.default_rng(3).uniform(0.5, 4.0, count))
    levels = _rounded_down(sigmas.tolist())
    standing = np.repeat([sigma for sigma, _ in levels], [times for _, times in levels])
    assert len(levels) <= 256
    assert (standing <= sigmas).all()
    assert (standing >= sigmas * (sigmas[0] / sigmas[-1]) ** (1 / 256) * (1 - 1e-12)).all()


def test_renyi_keeps_few_sigmas_as_they_are():
    assert _rounded_down([2.0, 1.0, 1.0001, 1.0]) == [(1.0, 2), (1.0001, 1), (2.0, 1)]
    assert _rounded_down([1.5] * 3) == [(1.5, 3)]
    assert _rounded_down([]) == []
    levels = [1.0 + number / 100 for number in range(256)]
    assert _rounded_down(levels) == [(sigma, 1) for sigma in levels]


@pytest.mark.parametrize("delta", [-0.1, 1.1, math.nan])
def test_renyi_refuses_what_is_no_delta(delta):
    with pytest.raises(UsageError, match="rdp_epsilon: delta must lie in"):
        rdp_epsilon(trace(0.1, (1.0,)), delta)


def test_renyi_of_little_and_of_much():
    assert rdp_epsilon(trace(0.1, (math.inf, math.inf)), DELTA) == 0.0
    assert rdp_epsilon(trace(0.1, (math.inf, math.inf)), 0.0) == 0.0
    assert math.inf > rdp_epsilon(trace(0.1, (1.0, math.inf)), DELTA) == rdp_epsilon(trace(0.1, (1.0,)), DELTA) > 0
    assert rdp_epsilon(trace(0.1, (1.0, 0.0)), DELTA) == math.inf
    assert rdp_epsilon(trace(0.1, (1.0,)), 0.0) == math.inf
    for delta in (0.5, 1.0):
        assert 0 <= rdp_epsilon(trace(0.1, (1.0,)), delta) < math.inf
    with pytest.raises(UnsupportedCellError, match="use epsilon_bracket"):
        rdp_epsilon(trace(0.1, (1.0,), Relation.REPLACE_ONE), DELTA)


def test_every_other_cell_is_refused_with_the_reason():
    refused = 0
    for sampler, relation, rows in itertools.product(Sampler, Relation, Rows):
        cell = Cell(sampler=sampler, relation=relation, rows=rows)
        asked = EventTrace(
            cell=cell, sampling_probability=0.1, sigmas=(1.0,), steps_per_epoch=1, batch_size=10, dataset_size=100
        )
        if (sampler, relation, rows) in ANSWERED:
            assert epsilon_bracket(asked, DELTA).upper > 0
        else:
            with pytest.raises(
                UnsupportedCellError, match=r"no answer for .*Answered \(sampler/relation/rows\): poisson"
            ):
                epsilon_bracket(asked, DELTA)
            refused += 1
    assert refused == 24 - len(ANSWERED) == 15


def test_missing_facts_are_named():
    with pytest.raises(UsageError, match="steps_per_epoch"):
        epsilon_bracket(trace(0.1, (1.0,), Relation.ZERO_OUT, Sampler.SHUFFLE, batch_size=1, dataset_size=10), DELTA)
    with pytest.raises(UsageError, match="dataset_size and batch_size"):
        epsilon_bracket(trace(0.1, (1.0,), Relation.ZERO_OUT, Sampler.TRUNCATED_POISSON), DELTA)
    for facts in ({"batch_size": 10}, {"dataset_size": 100}):
        with pytest.raises(UsageError, match="dataset_size and batch_size"):
            epsilon_bracket(trace(0.1, (1.0,), Relation.ZERO_OUT, Sampler.TRUNCATED_POISSON, **facts), DELTA)
    fixed = trace(0.2, (1.0,), Relation.REPLACE_ONE, Sampler.FIXED_SIZE, batch_size=10, dataset_size=100)
    with pytest.raises(UsageError, match=r"q must be 0\.1"):
        epsilon_bracket(fixed, DELTA)
    with pytest.raises(UsageError, match="delta must lie in"):
        epsilon_bracket(trace(0.1, (1.0,)), math.nan)


def test_no_noise_is_infinite_where_it_shows():
    bracket = epsilon_bracket(trace(0.01, (1.0, 0.0)), DELTA)
    assert bracket.lower == bracket.upper == math.inf
    hardly = epsilon_bracket(trace(1e-7, (1.0, 0.0)), DELTA)
    assert hardly.upper == math.inf
    assert hardly.lower == 0.0  # a step without noise that uses the row with probability 1e-7 < delta proves nothing


def test_infinite_noise_costs_nothing():
    assert epsilon_bracket(trace(0.01, (math.inf,) * 3), DELTA).upper == 0.0
    some = epsilon_bracket(trace(0.01, (1.0, math.inf, math.inf)), DELTA)
    alone = epsilon_bracket(trace(0.01, (1.0,)), DELTA)
    assert (some.lower, some.upper) == (alone.lower, alone.upper)


def test_extreme_deltas():
    assert epsilon_bracket(trace(0.01, (1.0,) * 10), 0.0).lower == math.inf
    assert epsilon_bracket(trace(0.01, (math.inf,) * 10), 0.0).upper == 0.0
    assert epsilon_bracket(trace(0.01, (1.0,) * 10), 1.0).upper == 0.0
    tiny = epsilon_bracket(trace(0.01, (1.0,) * 100), 1e-11)
    assert tiny.relative_width < 1e-2


def test_delta_above_the_total_variation_gives_zero():
    bracket = epsilon_bracket(trace(1e-6, (1.0,) * 5), DELTA)
    assert (bracket.lower, bracket.upper) == (0.0, 0.0)


EXTREMES = [
    (1e-6, 10**6, 1.0, 1e-3),
    (1e-3, 10**6, 1.0, 1e-3),
    (0.05, 10**5, 100.0, 1e-3),
    (0.5, 1000, 20.0, 1e-3),
    (0.004, 1170, 0.05, 1e-3),
    (0.999, 30, 5.0, 1e-3),
    (1e-3, 1, 0.3, 1e-6),
    (0.02, 2, 0.5, 1e-2),
]


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.REPLACE_ONE])
@pytest.mark.parametrize(("q", "steps", "sigma", "width"), EXTREMES)
def test_brackets_stay_narrow_over_the_whole_range(q, steps, sigma, width, relation):
    bracket = epsilon_bracket(trace(q, (sigma,) * steps, relation), DELTA)
    assert 0 < bracket.lower <= bracket.upper < math.inf
    assert bracket.relative_width < width


def test_a_schedule_beyond_any_grid_still_has_sound_ends():
    """Epsilon of order 1e8: the upper end falls back, the lower end uses fewer steps; neither is clamped."""
    bracket = epsilon_bracket(trace(0.5, (0.05,) * 10**6), DELTA)
    assert 1e5 < bracket.lower < bracket.upper < math.inf


@settings(max_examples=15, deadline=None)
@given(
    q=st.floats(1e-4, 0.5),
    sigma=st.floats(0.4, 8.0),
    steps=st.integers(1, 400),
    relation=st.sampled_from([Relation.ADD_REMOVE, Relation.REPLACE_ONE]),
)
def test_epsilon_falls_with_noise_and_delta_and_rises_with_steps_and_q(q, sigma, steps, relation):
    here = epsilon_bracket(trace(q, (sigma,) * steps, relation), DELTA)
    assert here.lower <= here.upper
    for cheaper, delta in (
        (trace(q, (1.3 * sigma,) * steps, relation), DELTA),
        (trace(0.7 * q, (sigma,) * steps, relation), DELTA),
        (trace(q, (sigma,) * max(steps // 2, 1), relation), DELTA),
        (trace(q, (sigma,) * steps, relation), 2 * DELTA),
    ):
        assert epsilon_bracket(cheaper, delta).lower <= here.upper


@settings(max_examples=10, deadline=None)
@given(q=st.floats(1e-3, 0.3), sigma=st.floats(0.5, 5.0), steps=st.integers(1, 300))
def test_pld_never_exceeds_renyi(q, sigma, steps):
    asked = trace(q, (sigma,) * steps)
    assert upper_end(asked, DELTA) <= rdp_epsilon(asked, DELTA) * (1 + 1e-6)


def test_replacing_costs_more_than_removing():
    for q, sigma, steps in ((0.01, 1.0, 100), (0.3, 5.0, 50)):
        remove = epsilon_bracket(trace(q, (sigma,) * steps), DELTA)
        replace = epsilon_bracket(trace(q, (sigma,) * steps, Relation.REPLACE_ONE), DELTA)
        assert remove.upper < replace.lower
