"""Calibration ends inside its window, on the gate's own number, in every cell."""

import math
import time

import pytest

from dpaudit.accounting import calibrate_noise_multiplier, epsilon_bracket, honest_noise_factor
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
    trace = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(1.0, 0.0))
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
