"""Records of attacks on trainings within an audit: what they found counts, that they found nothing does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dpaudit.contract import (
    AttackReport,
    AuditReport,
    Finding,
    Form,
    Layer,
    Outcome,
    RunConfig,
    Severity,
    Strength,
    UsageError,
    Verdict,
)
from dpaudit.gate import audit, is_from_attack, reproduce
from dpaudit.gate.attack_records import ASSUMED
from dpaudit.probe import load_source

HONEST = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
CONFIG = RunConfig(
    dataset_size=5000,
    batch_size=40,
    expected_batch=40.0,
    epochs=1,
    steps_per_epoch=20,
    max_grad_norm=1.0,
    target_epsilon=3.0,
    target_delta=1e-5,
    noise_multiplier=1.0,
    parameter_shapes=((3, 4), (3,)),
)
REFUTATION = Finding(
    rule="DPA301",
    severity=Severity.CRITICAL,
    strength=Strength.STATISTICAL,
    message="the claim is refuted and confirmed with fresh seeds",
    file="mechanism.py",
)


def record(*findings: Finding, config: RunConfig = CONFIG, **changes: object) -> AttackReport:
    source = load_source(str(HONEST))
    made = AttackReport(
        mode="train",
        mechanism=source.display,
        class_name=source.class_name,
        source_sha256=source.sha256,
        config=config,
        outcome=Outcome.VIOLATED if findings else Outcome.PASSED,
        summary="as its findings say",
        epsilon_lower=0.5,
        places=(),
        accuracy=(),
        replayed=(),
        findings=findings,
        notes=(),
        command="dpaudit attack mechanism.py --mode train",
        seconds=1.0,
        created="2026-01-01T00:00:00+00:00",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def audited() -> Callable[..., AuditReport]:
    def run(
        *attacks: AttackReport, layers: tuple[Layer, ...] = (Layer.REPLAY,), form: Form = Form.PLAIN
    ) -> AuditReport:
        return audit(str(HONEST), CONFIG, layers=layers, command="dpaudit gate again", attacks=attacks, form=form)

    return run


def test_an_attack_that_found_nothing_changes_no_verdict(audited: Callable[..., AuditReport]) -> None:
    without, report = audited(), audited(record())
    assert (report.verdict, report.reasons) == (without.verdict, without.reasons)
    assert report.attacks == (record(),)
    assert report.epsilon.empirical_lower is None  # the record's own section says what it showed
    assert ASSUMED in report.assumptions
    assert ASSUMED not in without.assumptions


def test_a_confirmed_refutation_rejects_and_names_its_own_command(audited: Callable[..., AuditReport]) -> None:
    report = audited(record(REFUTATION))
    assert report.verdict is Verdict.REJECTED
    (found,) = (finding for finding in report.findings if finding.rule == "DPA301")
    assert found.rerun == "dpaudit attack mechanism.py --mode train"
    assert is_from_attack(found)
    with pytest.raises(UsageError, match="not repeated here: dpaudit attack"):
        reproduce(report, found, load_source(str(HONEST)))


def test_a_refutation_of_what_is_proved_decides_nothing(audited: Callable[..., AuditReport]) -> None:
    report = audited(record(REFUTATION), layers=(Layer.STATIC, Layer.REPLAY))
    assert report.epsilon.replayed.upper is not None
    assert report.epsilon.replayed.upper <= 3.0
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.broken


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source_sha256": "0" * 64}, "sha256"),
        ({"class_name": "Other"}, "its class is Other"),
        ({"config": replace(CONFIG, noise_multiplier=2.0)}, "noise_multiplier is 2.0, in this audit 1.0"),
        ({"config": replace(CONFIG, target_epsilon=8.0)}, "target_epsilon"),
    ],
)
def test_a_record_of_something_else_is_refused(
    audited: Callable[..., AuditReport], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        audited(record(**changes))


def test_a_record_says_nothing_about_another_form(audited: Callable[..., AuditReport]) -> None:
    with pytest.raises(UsageError, match="its form is plain"):
        audited(record(), form=Form.WEIGHTS)
