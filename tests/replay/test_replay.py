"""Replay on hand-made measurements: which findings, which ends of the bracket, and what is never filled in."""

import math
from dataclasses import replace

import pytest

from dpaudit.contract import (
    Calibration,
    Cell,
    Finding,
    LedgerRow,
    Measurement,
    NoiseClass,
    Outcome,
    Relation,
    Rows,
    RunConfig,
    RunRecord,
    Sampler,
    Severity,
    StaticResult,
    Strength,
)
from dpaudit.replay import Replay, compare_ledger, replay

HONEST = 0.6508 * 1.001
CONFIG = RunConfig(
    dataset_size=60_000,
    batch_size=256,
    expected_batch=256.0,
    epochs=5,
    steps_per_epoch=234,
    max_grad_norm=1.0,
    target_epsilon=3.0,
    target_delta=1e-5,
    noise_multiplier=HONEST,
)
STEPS = CONFIG.total_steps
Schedule = tuple[float | None, ...]


def measurement(measured: Schedule, reported: Schedule | None = None, *, demonstrated: bool = True) -> Measurement:
    return Measurement(
        outcome=Outcome.PASSED,
        reported=measured if reported is None else reported,
        measured=measured,
        classes=(NoiseClass.CLEAN,) * len(measured),
        demonstrated=demonstrated,
        pair="one row",
        findings=(),
        seconds=0.0,
    )


def replayed(seen: Measurement, *, config: RunConfig = CONFIG, static: StaticResult | None = None) -> Replay:
    return replay(config, seen, static, file="m.py", rerun="again")


def rules(result: Replay) -> dict[str, Severity]:
    return {finding.rule: finding.severity for finding in result.findings}


def constant(sigma: float) -> tuple[float, ...]:
    return (sigma,) * STEPS


def proved(sigma: float) -> StaticResult:
    return StaticResult(sigma_effective=constant(sigma), refusal=None)


def test_an_honest_schedule_without_a_static_bound_has_no_upper_end_and_no_finding() -> None:
    result = replayed(measurement(constant(HONEST)))
    assert result.findings == ()
    assert result.replayed.lower == pytest.approx(2.99, abs=0.02)
    assert result.replayed.upper is None
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.honest_noise_factor == pytest.approx(1.0, abs=2e-3)


def test_a_static_bound_closes_the_bracket() -> None:
    result = replayed(measurement(constant(HONEST)), static=proved(HONEST))
    assert result.replayed.upper is not None
    assert result.replayed.upper <= 3.0
    assert result.outcome is Outcome.PASSED


def test_a_refusal_leaves_the_bracket_open() -> None:
    refusal = Finding(rule="DPA207", severity=Severity.MAJOR, strength=Strength.PROOF, message="", file="m.py")
    result = replayed(measurement(constant(HONEST)), static=StaticResult(sigma_effective=None, refusal=refusal))
    assert result.replayed.upper is None
    assert result.outcome is Outcome.INCONCLUSIVE


def test_overspending_is_found_with_the_factor_that_mends_it() -> None:
    result = replayed(measurement(constant(0.2385)))
    assert rules(result)["DPA404"] is Severity.CRITICAL
    assert result.replayed.lower == pytest.approx(86.2, rel=0.01)
    assert result.honest_noise_factor == pytest.approx(0.6508 / 0.2385, rel=2e-3)


def test_a_report_above_the_measured_noise_rejects_only_if_the_measured_schedule_overspends() -> None:
    cheap = replayed(measurement(constant(HONEST), constant(HONEST * 1.5)))
    costly = replayed(measurement(constant(0.5), constant(HONEST)))
    assert rules(cheap)["DPA403"] is Severity.MAJOR
    assert rules(costly) == {"DPA404": Severity.CRITICAL, "DPA403": Severity.CRITICAL}
    assert cheap.outcome is Outcome.INCONCLUSIVE


def test_understating_the_noise_is_minor_even_if_the_stated_schedule_would_overspend() -> None:
    result = replayed(measurement(constant(HONEST), constant(HONEST * 0.9)))
    assert rules(result) == {"DPA406": Severity.MINOR}
    sure = replayed(measurement(constant(HONEST), constant(HONEST * 0.9)), static=proved(HONEST))
    assert sure.outcome is Outcome.PASSED
    assert {finding.strength for finding in sure.findings} == {Strength.PROOF}


def test_a_reported_schedule_that_overspends_rejects_where_nothing_was_measured() -> None:
    result = replayed(measurement((None,) * STEPS, constant(0.5)))
    assert rules(result) == {"DPA405": Severity.CRITICAL}
    assert result.replayed.lower is None


@pytest.mark.parametrize("measured", [(None, *constant(0.2385)[1:]), (*constant(0.2385)[1:], None)])
def test_a_step_that_was_not_read_is_never_filled_in(measured: Schedule) -> None:
    result = replayed(measurement(measured, constant(HONEST)))
    assert result.replayed.lower is None
    assert result.honest_noise_factor is None
    assert rules(result) == {}


def test_a_schedule_that_no_single_pair_attains_gives_no_lower_end() -> None:
    result = replayed(measurement(constant(0.2385), constant(HONEST), demonstrated=False))
    assert result.replayed.lower is None
    assert result.outcome is Outcome.INCONCLUSIVE


def test_no_noise_at_all_costs_infinity_and_no_factor_mends_it() -> None:
    result = replayed(measurement((0.0, *constant(HONEST)[1:]), constant(HONEST)))
    assert result.replayed.lower == math.inf
    assert result.honest_noise_factor is None
    assert rules(result)["DPA404"] is Severity.CRITICAL


PUBLISHED = replace(
    CONFIG,
    cell=Cell(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
    calibration=Calibration.BENCHMARK,
    noise_multiplier=0.2385,
)


def test_the_published_claim_is_refuted_twice_and_the_two_are_kept_apart() -> None:
    result = replayed(measurement(constant(0.2385)), config=PUBLISHED)
    found = {finding.rule: finding for finding in result.findings}
    assert result.claimed == pytest.approx(3.0016, abs=1e-3)
    assert found["DPA401"].severity is Severity.CRITICAL
    assert found["DPA401"].evidence["epsilon_lower"] == pytest.approx(86.2, rel=0.01)
    assert found["DPA402"].severity is Severity.MAJOR
    assert found["DPA402"].evidence["epsilon_upper"] == pytest.approx(83.1, rel=0.01)
    assert result.replayed.upper is None


def test_a_claim_by_the_formula_that_overstates_is_not_refuted() -> None:
    config = replace(
        CONFIG,
        dataset_size=50_000,
        batch_size=4096,
        expected_batch=4096.0,
        epochs=50,
        steps_per_epoch=12,
        calibration=Calibration.BENCHMARK,
    )
    sigmas = (2.96,) * config.total_steps
    result = replayed(measurement(sigmas), config=config)
    assert "DPA401" not in rules(result)


def record(sigma: float, nonfinite: int = 0) -> RunRecord:
    row = LedgerRow(
        step=0,
        epoch=1,
        rows_seen=250,
        rows_sampled=250,
        rows_truncated=0,
        rows_nonfinite=nonfinite,
        reported_sigma=sigma,
    )
    return RunRecord(
        directory="runs/a",
        mechanism="m.py",
        class_name="DPMechanism",
        source_sha256="",
        dataset="MNIST",
        config=CONFIG,
        seed=42,
        completed=True,
        accuracy=95.0,
        best_accuracy_on_test=95.0,
        seconds=1.0,
        ledger=(row,),
    )


def test_the_ledger_is_compared_step_by_step() -> None:
    seen = measurement(constant(HONEST))
    agreed = tuple(compare_ledger(CONFIG, seen, record(HONEST), file="m.py", rerun=""))
    told = tuple(compare_ledger(CONFIG, seen, record(0.5), file="m.py", rerun=""))
    guarded = tuple(compare_ledger(CONFIG, seen, record(HONEST, nonfinite=3), file="m.py", rerun=""))
    assert agreed == ()
    assert [finding.rule for finding in told] == ["DPA407"]
    assert [finding.rule for finding in guarded] == ["DPA502"]
    assert "3 rows" in guarded[0].message
