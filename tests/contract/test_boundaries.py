"""The edges of the vocabulary: the last value that is legal, the first that is not, and what defaults stand for."""

import math
from dataclasses import replace

import pytest

from dpaudit.contract import (
    Calibration,
    Cell,
    EventTrace,
    ExitCode,
    Measurement,
    NonFinite,
    Outcome,
    Rows,
    RunConfig,
    RunRecord,
    Sampler,
    UsageError,
)
from dpaudit.contract.curves import CurvesRecord, SpendRow
from dpaudit.contract.finding import plain_number
from dpaudit.contract.recorded_run import OtherRelease, RecordedRun, RecordedStep

CONFIG = RunConfig(
    dataset_size=1000, batch_size=10, expected_batch=10.0, epochs=2, steps_per_epoch=100, max_grad_norm=1.0,
    target_epsilon=3.0, target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((2, 3), (2,)),
)  # fmt: skip


def test_the_smallest_run_is_one_step_on_one_example():
    smallest = replace(CONFIG, dataset_size=1, batch_size=1, expected_batch=1.0, epochs=1, steps_per_epoch=1)
    assert (smallest.total_steps, smallest.sampling_probability) == (1, 1.0)


@pytest.mark.parametrize("changes", [{"noise_multiplier": 0.0}, {"target_delta": 0.0}, {"expected_batch": 1000.0}])
def test_the_last_legal_value_is_legal(changes):
    (name,) = changes
    assert getattr(replace(CONFIG, **changes), name) == changes[name]


@pytest.mark.parametrize("multiplier", [0.0, -1.0, math.nan, math.inf])
def test_a_preparation_without_usable_noise_is_refused(multiplier):
    with pytest.raises(UsageError, match="preparation must be positive and finite"):
        replace(CONFIG, preparation=(4.0, multiplier))
    with pytest.raises(UsageError, match="preparation must be positive and finite"):
        EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(1.0,), preparation=(4.0, multiplier))


def test_a_preparation_counts_into_the_trace_and_the_benchmark_s_formula_knows_none():
    prepared = replace(CONFIG, preparation=(0.5,))
    trace = EventTrace.of_run(prepared, (1.0,) * 200)
    assert trace.preparation == (0.5,)
    scaled = replace(trace, sigmas=(2.0, 0.5)).scaled(3.0)
    assert (scaled.sigmas, scaled.preparation) == ((6.0, 1.5), (0.5,))
    assert trace.without_preparation().preparation == ()
    assert trace.without_preparation().sigmas == trace.sigmas
    with pytest.raises(UsageError, match="knows no preparation"):
        replace(prepared, calibration=Calibration.BENCHMARK)
    assert replace(CONFIG, calibration=Calibration.BENCHMARK).preparation == ()


def test_a_shuffled_epoch_may_use_every_example_once_and_other_samplers_know_no_epoch():
    assert replace(CONFIG, cell=Cell(sampler=Sampler.SHUFFLE)).total_steps == 200
    assert replace(CONFIG, steps_per_epoch=101).total_steps == 202


def test_rows_that_the_mechanism_always_sees():
    assert CONFIG.realised_rows is None
    assert replace(CONFIG, cell=Cell(rows=Rows.CONSTANT)).realised_rows == 10


def test_infinity_is_plain_data():
    assert [plain_number(value) for value in (math.inf, 1.5, 0.0)] == ["inf", 1.5, 0.0]


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.0000001, math.nan])
def test_a_trace_needs_a_probability(probability):
    with pytest.raises(UsageError, match="q must lie in"):
        EventTrace(cell=Cell(), sampling_probability=probability, sigmas=(1.0,))


def test_the_ends_of_a_trace_s_ranges():
    trace = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(0.0, math.inf))
    assert trace.sigmas == (0.0, math.inf)
    with pytest.raises(UsageError, match="sigma of step 1"):
        EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(1.0, math.nan))


def test_a_trace_of_a_run_is_told_the_run_s_public_facts():
    trace = EventTrace.of_run(CONFIG, (1.0,) * 200)
    assert (trace.steps_per_epoch, trace.batch_size, trace.dataset_size) == (100, 10, 1000)
    assert (trace.cell, trace.sampling_probability, trace.preparation) == (CONFIG.cell, 0.01, ())


def test_a_cell_in_words():
    cell = Cell(rows=Rows.CONSTANT, nonfinite=NonFinite.RAW)
    assert str(cell) == "poisson/add_remove/rows constant/non-finite raw"


def test_what_is_not_said_is_the_harmless_case():
    step = RecordedStep(told=1.0)
    assert step.released
    run = RecordedRun(steps=(step,))
    assert not run.releases_per_rank
    assert not OtherRelease(what="a count", noise_multiplier=1.0).charged
    plain = Measurement(
        outcome=Outcome.PASSED, reported=(), measured=(), classes=(), demonstrated=True, pair="", findings=(), seconds=0.0
    )  # fmt: skip
    assert not plain.post_processed


def test_curves_without_a_curve_are_none():
    row = SpendRow(steps=1, reported=None, lower=None, upper=None)
    assert not CurvesRecord()
    assert CurvesRecord(spend=(row,))


def test_exit_codes_are_the_documented_numbers():
    assert [(code.name, int(code)) for code in ExitCode] == [
        ("ALL_ACCEPTED", 0), ("REJECTED", 1), ("USAGE", 2), ("BROKEN", 3), ("INCONCLUSIVE", 4), ("NOTHING_AUDITED", 5),
    ]  # fmt: skip


def test_a_run_replaces_no_example_by_a_canary_unless_it_says_so():
    record = RunRecord(
        directory="", mechanism="m.py", class_name="M", source_sha256="", dataset="d", config=CONFIG, seed=0, completed=True,
        accuracy=None, best_accuracy_on_test=None, seconds=0.0, ledger=(),
    )  # fmt: skip
    assert record.canaries == 0
