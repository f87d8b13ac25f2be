"""What an audit's record says of itself: what it lacks for ACCEPTED, whether dpaudit broke, whether it is as expected."""

from dataclasses import replace

import pytest

from dpaudit.contract import (
    AuditReport,
    Bracket,
    EpsilonRecord,
    ExitCode,
    Finding,
    Layer,
    LayerRecord,
    Outcome,
    RunConfig,
    Severity,
    SigmaRecord,
    Strength,
    Verdict,
    fold_exit_code,
)

CONFIG = RunConfig(
    dataset_size=1000, batch_size=10, expected_batch=10.0, epochs=2, steps_per_epoch=100, max_grad_norm=1.0,
    target_epsilon=3.0, target_delta=1e-5, noise_multiplier=1.0,
)  # fmt: skip
LAYERS = tuple(LayerRecord(layer=layer, outcome=Outcome.PASSED, ran=True, summary="") for layer in Layer)
EPSILON = EpsilonRecord(
    target=3.0, delta=1e-5, reported=2.9, reported_bracket=None, replayed=Bracket(lower=2.8, upper=3.0),
    empirical_lower=None,
)  # fmt: skip
ACCEPTED = AuditReport(
    mechanism="m.py", class_name="M", source_sha256="", config=CONFIG, verdict=Verdict.ACCEPTED, reasons=(), layers=LAYERS,
    findings=(), epsilon=EPSILON, sigma=SigmaRecord(reported=(), measured=(), classes=(), effective=EPSILON.replayed),
    accuracy=(), honest_noise_factor=None, assumptions=(), blind_spots=(), command="", seconds=1.0, created="",
)  # fmt: skip


def finding(severity: Severity, rule: str = "DPA404") -> Finding:
    return Finding(rule=rule, severity=severity, strength=Strength.PROOF, message="", file="m.py")


def with_layer(layer: Layer, **changes: object) -> AuditReport:
    layers = tuple(replace(record, **changes) if record.layer is layer else record for record in LAYERS)
    return replace(ACCEPTED, layers=layers)


def test_a_report_that_lacks_nothing() -> None:
    assert ACCEPTED.lacks_for_acceptance == ""
    below = replace(EPSILON, target=2.9, replayed=Bracket(lower=2.0, upper=2.5))
    assert replace(ACCEPTED, epsilon=below).lacks_for_acceptance == ""
    assert replace(ACCEPTED, findings=(finding(Severity.MINOR),)).lacks_for_acceptance == ""
    assert with_layer(Layer.EMPIRICAL, outcome=Outcome.INCONCLUSIVE, ran=False).lacks_for_acceptance == ""


@pytest.mark.parametrize("upper", [None, 3.0000001, float("inf")])
def test_an_upper_end_is_needed(upper: float | None) -> None:
    report = replace(ACCEPTED, epsilon=replace(EPSILON, replayed=Bracket(lower=2.8, upper=upper)))
    assert report.lacks_for_acceptance == "an upper end of epsilon at most the target"


def test_the_target_must_be_the_run_s() -> None:
    raised = replace(EPSILON, target=3.5)
    assert replace(ACCEPTED, epsilon=raised).lacks_for_acceptance == "a target that is the run's"


@pytest.mark.parametrize("layer", [Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY])
def test_each_required_layer_is_needed(layer: Layer) -> None:
    said = f"the layer {layer} run and PASSED"
    for report in (
        with_layer(layer, outcome=Outcome.INCONCLUSIVE), with_layer(layer, ran=False),
        replace(ACCEPTED, layers=tuple(record for record in LAYERS if record.layer is not layer)),
    ):  # fmt: skip
        assert report.lacks_for_acceptance == said


@pytest.mark.parametrize("severity", [Severity.MAJOR, Severity.CRITICAL])
def test_one_finding_worse_than_minor_is_too_many(severity: Severity) -> None:
    report = replace(ACCEPTED, findings=(finding(Severity.MINOR), finding(severity)))
    assert report.lacks_for_acceptance == "no finding worse than MINOR"


def test_broken_is_one_finding_of_dpaudit_s_own_or_one_layer_that_errored() -> None:
    assert not ACCEPTED.broken
    assert not replace(ACCEPTED, findings=(finding(Severity.MAJOR),)).broken
    for rule in ("DPA001", "DPA002"):
        report = replace(ACCEPTED, findings=(finding(Severity.MINOR), finding(Severity.MAJOR, rule)))
        assert report.broken
        assert fold_exit_code([ACCEPTED, report]) is ExitCode.BROKEN
        assert "BROKEN" in repr(report)
    assert with_layer(Layer.EMPIRICAL, outcome=Outcome.ERRORED).broken


def test_as_expected_is_unknown_where_nothing_was_expected() -> None:
    assert ACCEPTED.as_expected is None
    assert replace(ACCEPTED, expected=(Verdict.REJECTED, Verdict.ACCEPTED)).as_expected is True
    assert replace(ACCEPTED, expected=(Verdict.REJECTED,)).as_expected is False


def test_a_line_for_a_person() -> None:
    assert repr(ACCEPTED) == ("<AuditReport m.py: ACCEPTED, epsilon [2.8, 3], target 3 at delta 1e-05, 0 finding(s)>")
    unproved = replace(ACCEPTED, epsilon=replace(EPSILON, replayed=Bracket(lower=2.5, upper=None)))
    assert "epsilon [2.5, ?]" in repr(unproved)
    page = ACCEPTED._repr_html_()
    assert "m.py" in page
    assert "ACCEPTED" in page


def test_a_layer_took_no_time_unless_it_says_so() -> None:
    assert LAYERS[0].seconds == 0.0
