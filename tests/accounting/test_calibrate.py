"""Calibration ends inside its window, on the gate's own number, in every cell."""

import math
import time

import pytest

from dpaudit.accounting import calibrate_noise_multiplier, epsilon_bracket, honest_noise_factor
from dpaudit.accounting.calibrate import MARGIN, TOLERANCE, _smallest
from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UnsupportedCellError, UsageError

CELLS = [
    (Sampler.POISSON, Relation.ADD_REMOVE, Rows.SAMPLED),
    (Sampler.POISSON, Relation.REPLACE_ONE, Rows.SAMPLED),
    (Sampler.TRUNCATED_POISSON, Relation.ZERO_OUT, Rows.CONSTANT),
    (Sampler.TRUNCATED_POISSON, Relation.REPLACE_ONE, Rows.CONSTANT),
    (Sampler.FIXED_SIZE, Relation.REPLACE_ONE, Rows.CONSTANT),
    (Sampler.SHUFFLE, Relation.ZERO_OUT, Rows.CONSTANT),
    (Sampler.SHUFFLE, Relation.REPLACE_ONE, Rows.CONSTANT),
]


@pytest.mark.parametrize(("sampler", "relation", "rows"), CELLS)
@pytest.mark.parametrize("target", [0.3, 3.0, 50.0])
def test_every_cell_meets_its_target_with_the_margin(sampler, relation, rows, target):
    cell = Cell(sampler=sampler, relation=relation, rows=rows)
    q = 40 / 6000 if sampler is Sampler.TRUNCATED_POISSON else 60 / 6000
    facts = {"sampling_probability": q, "steps_per_epoch": 100, "batch_size": 60, "dataset_size": 6000}
    found = calibrate_noise_multiplier(target_epsilon=target, delta=1e-5, cell=cell, steps=200, **facts)
    assert target * (1 - 1e-3) <= found.bracket.upper <= target * (1 - 2e-4)
    trace = EventTrace(cell=cell, sigmas=(found.noise_multiplier,) * 200, **facts)
    assert epsilon_bracket(trace, 1e-5) == found.bracket
    assert honest_noise_factor(trace, target, 1e-5) == 1.0


def test_calibration_of_a_benchmark_run_takes_seconds():
    """At most 3 s of processor time; measured 0.3 s."""
    start = time.process_time()
    calibrate_noise_multiplier(
        target_epsilon=2.5, delta=1e-5, cell=Cell(), sampling_probability=256 / 50000, steps=5850
    )
    assert time.process_time() - start < 3


def test_zero_noise_cannot_be_mended():
    trace = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(2.0, 0.0))
    assert honest_noise_factor(trace, 3.0, 1e-5) == math.inf


def test_an_honest_trace_may_shrink_its_noise():
    trace = EventTrace(cell=Cell(), sampling_probability=256 / 60000, sigmas=(0.9,) * 1170)
    assert 0.65 / 0.9 < honest_noise_factor(trace, 3.0, 1e-5) < 0.6525 / 0.9


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_impossible_targets_are_refused(target):
    with pytest.raises(UsageError, match="target epsilon must be positive and finite"):
        calibrate_noise_multiplier(target_epsilon=target, delta=1e-5, cell=Cell(), sampling_probability=0.1, steps=10)


@pytest.mark.parametrize("delta", [0.0, 1.0, math.nan])
def test_impossible_deltas_are_refused(delta):
    with pytest.raises(UsageError, match="delta must lie in"):
        calibrate_noise_multiplier(target_epsilon=1.0, delta=delta, cell=Cell(), sampling_probability=0.1, steps=10)


def test_unanswered_cell_is_refused():
    with pytest.raises(UnsupportedCellError):
        calibrate_noise_multiplier(
            target_epsilon=1.0, delta=1e-5, cell=Cell(rows=Rows.CONSTANT), sampling_probability=0.1, steps=10
        )


def searched(cost, target, start=1.0):
    """What the search ends with, and every point that it asked for."""
    asked = []

    def remembered(x):
        asked.append(x)
        return cost(x)

    return _smallest(remembered, target, start=start), asked


COSTS = {
    "power": lambda x: 3.0 / x,
    "gaussian": lambda x: 0.5 / x**2 + 4.8 / x,
    "steep": lambda x: math.exp(min(2.0 / x, 700.0)),
    "infinite at first": lambda x: math.inf if x < 0.7 else 5.0 / x**3,
    "nothing later": lambda x: 0.0 if x > 1.9 else 2.0 / x,
    "flat": lambda x: 1.0 + x**-0.25,
}


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("target", [1.6, 1.9, 2.7])
def test_the_search_ends_inside_the_window(name, target):
    x, asked = searched(COSTS[name], target)
    assert x in asked
    assert target * (1 - TOLERANCE) <= COSTS[name](x) <= target * (1 - MARGIN)
    assert len(asked) <= 20


def test_the_search_asks_for_the_same_points_as_ever():
    """As recorded: the sum of the logarithms of all points, which any change of the steps moves."""
    costs = {
        **COSTS,
        "jump": lambda x: 2.0 if x < 1.7 else 1.0,
        "jump to nothing": lambda x: math.inf if x < 0.3 else 0.0,
    }
    found = {name: math.fsum(math.log(x) for x in searched(cost, 1.9)[1]) for name, cost in costs.items()}
    assert found == pytest.approx(RECORDED, rel=1e-9)


RECORDED = {
    "power": 1.1503056630769999,
    "gaussian": 6.908513925954152,
    "steep": 10.077886795974482,
    "infinite at first": 1.0158085493209605,
    "nothing later": 1.0347242936926966,
    "flat": 1.9706567401302522,
    "jump": 17.405003787297023,
    "jump to nothing": -41.59932558899745,
}


def test_where_cost_jumps_over_the_window_the_side_that_meets_it_is_taken():
    for edge in (0.3, 1.0, 1.7, 40.0):
        x, _ = searched(lambda x, edge=edge: 2.0 if x < edge else 1.0, 1.5)
        assert edge <= x <= edge * (1 + 1e-8)
        x, _ = searched(lambda x, edge=edge: math.inf if x < edge else 0.0, 1.5)
        assert edge <= x <= edge * (1 + 1e-8)


def test_the_search_ends_at_its_borders():
    assert searched(lambda x: 1e-3 / x, 1.5) == (1e-3, pytest.approx([*(0.5**k for k in range(10)), 1e-3]))
    with pytest.raises(UsageError, match=r"even a noise multiplier of 1e\+06 does not meet epsilon 1\.5"):
        searched(lambda x: 2.0, 1.5)
    x, asked = searched(lambda x: 1.5e6 * (1 - 5e-4) / x, 1.5)
    assert (x, asked[-1]) == (1e6, 1e6)
    with pytest.raises(UsageError, match="even a noise multiplier"):
        searched(lambda x: 1.5e6 * (1 + 1e-5) / x, 1.5)


def test_a_start_that_is_in_the_window_already_is_taken_unless_less_is_enough():
    x, _ = searched(lambda x: 1.5 * (1 - 5e-4) / x, 1.5)
    assert x == 1.0
    x, _ = searched(lambda x: 1.5 * (1 - 3e-4) / x, 1.5)
    assert x == 1.0


def test_the_factor_of_what_has_too_much_noise_is_below_one_and_ends_at_the_smallest():
    asked = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(1e9,))
    assert honest_noise_factor(asked, 3.0, 1e-5) == 1e-3


def test_noise_that_meets_the_target_already_is_kept_to_the_last_digit():
    target = gaussian_epsilon(1.0, 1e-5)[1] * (1 + 5e-4)
    facts = {"cell": Cell(), "sampling_probability": 1.0}
    found = calibrate_noise_multiplier(target_epsilon=target, delta=1e-5, steps=1, **facts)
    assert found.noise_multiplier == 1.0
    assert honest_noise_factor(EventTrace(sigmas=(1.0,), **facts), target, 1e-5) == 1.0


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan, math.inf])
def test_no_factor_is_given_for_an_impossible_target(target):
    with pytest.raises(UsageError, match="target epsilon must be positive and finite"):
        honest_noise_factor(EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(1.0,)), target, 1e-5)


@pytest.mark.parametrize("steps", [0, -1])
def test_no_step_is_refused(steps):
    with pytest.raises(UsageError, match="calibrate: expected at least one step"):
        calibrate_noise_multiplier(target_epsilon=1.0, delta=1e-5, cell=Cell(), sampling_probability=0.1, steps=steps)


def test_one_step_without_sampling_is_the_exact_gaussian():
    found = calibrate_noise_multiplier(target_epsilon=1.0, delta=1e-5, cell=Cell(), sampling_probability=1.0, steps=1)
    assert gaussian_epsilon(1 / found.noise_multiplier, 1e-5)[1] == found.bracket.upper
    assert found.tolerance == TOLERANCE == 1e-3
    assert MARGIN == 2e-4
