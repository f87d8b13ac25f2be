"""The vocabulary: illegal values cannot exist, and verdicts fold fail-closed."""

import math
from dataclasses import replace

import pytest

from dpaudit.contract import (
    RULES,
    AuditBrokenError,
    AuditReport,
    Bracket,
    Cell,
    EpsilonRecord,
    EventTrace,
    ExitCode,
    Finding,
    Layer,
    LayerRecord,
    Outcome,
    RunConfig,
    Sampler,
    Severity,
    SigmaRecord,
    StaticResult,
    Strength,
    UsageError,
    Verdict,
    fold_exit_code,
)

CONFIG = RunConfig(
    dataset_size=1000,
    batch_size=10,
    expected_batch=10.0,
    epochs=2,
    steps_per_epoch=100,
    max_grad_norm=1.0,
    target_epsilon=3.0,
    target_delta=1e-5,
    noise_multiplier=1.0,
    parameter_shapes=((2, 3), (2,)),
)
NOTHING = Bracket(lower=None, upper=None)


def report(verdict: Verdict, *, findings: tuple[Finding, ...] = (), outcome: Outcome = Outcome.PASSED) -> AuditReport:
    return AuditReport(
        mechanism="m.py",
        class_name="DPMechanism",
        source_sha256="",
        config=CONFIG,
        verdict=verdict,
        reasons=(),
        layers=(LayerRecord(layer=Layer.REPLAY, outcome=outcome, ran=True, summary=""),),
        findings=findings,
        epsilon=EpsilonRecord(
            target=3.0, delta=1e-5, reported=None, reported_bracket=None, replayed=NOTHING, empirical_lower=None
        ),
        sigma=SigmaRecord(reported=(), measured=(), classes=(), effective=NOTHING),
        accuracy=(),
        honest_noise_factor=None,
        assumptions=(),
        blind_spots=(),
        command="",
        seconds=0.0,
        created="",
    )


def finding(
    rule: str = "DPA404", severity: Severity = Severity.CRITICAL, strength: Strength = Strength.PROOF
) -> Finding:
    return Finding(rule=rule, severity=severity, strength=strength, message="", file="m.py")


@pytest.mark.parametrize(("lower", "upper"), [(math.nan, 1.0), (None, math.nan), (2.0, 1.0)])
def test_a_bracket_that_contradicts_itself_is_a_defect_of_the_audit(lower: float | None, upper: float | None) -> None:
    with pytest.raises(AuditBrokenError, match="bracket"):
        Bracket(lower=lower, upper=upper)


def test_relative_width_of_an_open_bracket_is_infinite() -> None:
    assert Bracket(lower=2.9, upper=None).relative_width == math.inf
    assert Bracket(lower=2.9, upper=math.inf).relative_width == math.inf
    assert Bracket(lower=2.97, upper=3.0).relative_width == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset_size", 0),
        ("batch_size", 0),
        ("epochs", 0),
        ("steps_per_epoch", 0),
        ("expected_batch", math.nan),
        ("expected_batch", 2000.0),
        ("max_grad_norm", 0.0),
        ("target_epsilon", -1.0),
        ("target_epsilon", math.inf),
        ("target_delta", 1.0),
        ("target_delta", math.nan),
        ("noise_multiplier", -0.1),
        ("noise_multiplier", math.nan),
    ],
)
def test_a_run_configuration_out_of_range_cannot_exist(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=field):
        replace(CONFIG, **{field: value})


def test_a_shuffled_epoch_cannot_use_an_example_twice() -> None:
    with pytest.raises(UsageError, match="shuffled epoch"):
        replace(CONFIG, steps_per_epoch=101, cell=Cell(sampler=Sampler.SHUFFLE))


def test_derived_public_facts() -> None:
    assert (CONFIG.total_steps, CONFIG.sampling_probability, CONFIG.n_params) == (200, 0.01, 8)
    assert [CONFIG.epoch_of(step) for step in (0, 99, 100, 199)] == [1, 1, 2, 2]


@pytest.mark.parametrize("sigmas", [(), (1.0, -1.0), (math.nan,)])
def test_an_event_trace_needs_sigmas(sigmas: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="event trace"):
        EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=sigmas)


def test_the_trace_of_a_run_has_one_sigma_a_step() -> None:
    with pytest.raises(UsageError, match="expected 200 sigmas"):
        EventTrace.of_run(CONFIG, (1.0,) * 199)
    assert EventTrace.of_run(CONFIG, (1.0,) * 200).scaled(2.0).sigmas == (2.0,) * 200


def test_a_finding_names_a_known_rule() -> None:
    with pytest.raises(ValueError, match="unknown rule id 'DPA999'"):
        finding("DPA999")


def test_rules_are_sorted_by_their_layer() -> None:
    assert all(identifier == rule.id and len(identifier) == 6 for identifier, rule in RULES.items())


@pytest.mark.parametrize(
    ("severity", "strength", "refutes"),
    [
        (Severity.CRITICAL, Strength.PROOF, True),
        (Severity.CRITICAL, Strength.STATISTICAL, True),
        (Severity.CRITICAL, Strength.HEURISTIC, False),
        (Severity.MAJOR, Strength.PROOF, False),
        (Severity.MINOR, Strength.PROOF, False),
    ],
)
def test_a_heuristic_alone_never_rejects(severity: Severity, strength: Strength, refutes: bool) -> None:
    assert finding(severity=severity, strength=strength).refutes is refutes


def test_a_static_result_is_a_bound_or_a_refusal() -> None:
    with pytest.raises(ValueError, match="both or neither"):
        StaticResult(sigma_effective=None, refusal=None)
    with pytest.raises(ValueError, match="both or neither"):
        StaticResult(sigma_effective=(1.0,), refusal=finding())


ACCEPTED, REJECTED, INCONCLUSIVE = (report(verdict) for verdict in Verdict)
BROKEN = report(Verdict.REJECTED, findings=(finding("DPA001", Severity.MAJOR),))


@pytest.mark.parametrize(
    ("reports", "code"),
    [
        ((), ExitCode.NOTHING_AUDITED),
        ((ACCEPTED,), ExitCode.ALL_ACCEPTED),
        ((ACCEPTED, INCONCLUSIVE), ExitCode.INCONCLUSIVE),
        ((ACCEPTED, INCONCLUSIVE, REJECTED), ExitCode.REJECTED),
        ((REJECTED, BROKEN), ExitCode.BROKEN),
        ((report(Verdict.ACCEPTED, outcome=Outcome.ERRORED),), ExitCode.BROKEN),
    ],
)
def test_exit_codes_fold_fail_closed(reports: tuple[AuditReport, ...], code: ExitCode) -> None:
    assert fold_exit_code(reports) is code
