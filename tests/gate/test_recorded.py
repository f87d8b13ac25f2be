"""The audit of a record alone, with the replay told what it says: what is found, what is concluded, what is written."""

import hashlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpaudit.contract import (
    AuditReport,
    Bracket,
    Finding,
    Layer,
    Measurement,
    NoiseClass,
    Outcome,
    RunConfig,
    Severity,
    Strength,
    Verdict,
)  # fmt: skip
from dpaudit.gate import recorded
from dpaudit.gate.attack_records import findings_of, is_from_attack
from dpaudit.gate.auditing import versions

CONFIG = RunConfig(
    dataset_size=5000, batch_size=40, expected_batch=40.0, epochs=1, steps_per_epoch=4, max_grad_norm=1.0,
    target_epsilon=3.0, target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((3, 4),),
)  # fmt: skip
NOTHING = Bracket(lower=None, upper=None, lower_method="a record", upper_method="a record")
COST = Bracket(lower=1.0, upper=1.1, lower_method="as told", upper_method="as told")


def finding(rule: str, severity: Severity = Severity.MAJOR, strength: Strength = Strength.PROOF) -> Finding:
    return Finding(rule=rule, severity=severity, strength=strength, message=f"said by {rule}", file="run.jsonl")


def measurement(reported: tuple[float | None, ...], measured: tuple[float | None, ...]) -> Measurement:
    return Measurement(
        outcome=Outcome.INCONCLUSIVE, reported=reported, measured=measured, classes=(NoiseClass.UNRESOLVED,) * len(reported),
        demonstrated=False, pair="", findings=(), seconds=0.0, notes=("a note",),
    )  # fmt: skip


SAME = measurement((1.0, 1.0), (None, None))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    told = SimpleNamespace(findings=(), contradictions=(), asked=[])

    def replay(config: object, measurement: object, static: object, *, file: str, rerun: str) -> SimpleNamespace:
        told.asked.append((config, measurement, static, file, rerun))
        return SimpleNamespace(
            findings=told.findings, summary="replayed", seconds=0.5, replayed=NOTHING, claimed=0.9, reported=COST,
            effective=COST, honest_noise_factor=1.5, spend=(),
        )  # fmt: skip

    monkeypatch.setattr(recorded, "replay", replay)
    monkeypatch.setattr(recorded, "recorded_findings", lambda config, record, *, file: iter(told.contradictions))
    return told


def audited(measured: Measurement = SAME, name: str = "run.jsonl", **options: Any) -> AuditReport:
    return recorded.audit_record(name, CONFIG, measured, command="again", **options)


def test_a_quiet_record_is_inconclusive_and_written_down(stage: SimpleNamespace) -> None:
    report = audited()
    assert stage.asked == [(CONFIG, SAME, None, "run.jsonl", "again")]
    assert report.verdict is Verdict.INCONCLUSIVE
    assert not report.broken
    for entry in report.layers:
        ran = entry.layer is Layer.REPLAY
        expected = (Outcome.INCONCLUSIVE, "replayed", 0.5) if ran else (Outcome.NOT_APPLICABLE, recorded._WHY, 0.0)
        assert (entry.ran, (entry.outcome, entry.summary, entry.seconds)) == (ran, expected)
    assert [entry.layer for entry in report.layers] == list(Layer)
    epsilon, sigma = report.epsilon, report.sigma
    assert (epsilon.target, epsilon.delta, epsilon.reported, epsilon.empirical_lower) == (3.0, 1e-5, 0.9, None)
    assert (epsilon.reported_bracket, epsilon.replayed, sigma.effective) == (COST, NOTHING, COST)
    assert (sigma.reported, sigma.measured, report.honest_noise_factor) == ((1.0, 1.0), (None, None), 1.5)
    assert any(text.startswith("1 training run(s) left a ledger") for text in report.assumptions)
    assert report.blind_spots == ("A note.",)
    assert (report.command, report.source_sha256, report.versions) == ("again", "", versions())
    assert 0 <= report.seconds < 60
    assert (report.findings, report.accuracy, report.class_name) == ((), (), "")


def test_the_hash_is_that_of_the_file(stage: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"{}\n")
    assert audited(name=str(path)).source_sha256 == hashlib.sha256(b"{}\n").hexdigest()
    assert audited(name=str(tmp_path)).source_sha256 == ""


def test_findings_of_every_source_count_each_with_the_command(stage: SimpleNamespace) -> None:
    stage.findings, stage.contradictions = (finding("DPA404"),), (finding("DPA401"),)
    report = audited(measurement((1.0,), (0.5,)), record=object(), further=[finding("DPA407")])
    assert [found.rule for found in report.findings] == ["DPA404", "DPA403", "DPA401", "DPA407"]
    assert {found.rerun for found in report.findings} == {"again"}
    assert report.verdict is Verdict.INCONCLUSIVE
    assert [found.rule for found in audited().findings] == ["DPA404"]  # no record, no contradiction


@pytest.mark.parametrize("source", ["replay", "record", "beside"])
def test_any_refutation_rejects_and_no_heuristic_does(stage: SimpleNamespace, source: str) -> None:
    for strength, outcome in ((Strength.PROOF, Outcome.VIOLATED), (Strength.HEURISTIC, Outcome.INCONCLUSIVE)):
        bad = (finding("DPA401", Severity.CRITICAL, strength), finding("DPA404"))
        stage.findings = bad if source == "replay" else ()
        stage.contradictions = bad if source == "record" else ()
        report = audited(record=object(), further=bad if source == "beside" else ())
        assert (report.verdict is Verdict.REJECTED) == (outcome is Outcome.VIOLATED)
        assert {entry.outcome for entry in report.layers if entry.ran} == {outcome}


@pytest.mark.parametrize(
    ("reported", "measured", "steps", "widest"),
    [
        ((1.0, 1.0), (1.0, 1.0), 0, None),
        ((1.0, None), (None, 0.5), 0, None),
        ((1.0, 1.00000999), (1.0, 1.0), 0, None),
        ((1.0, 1.00001001), (1.0, 1.0), 1, 1),
        ((1.0 * (1 + 1e-5),), (1.0,), 0, None),
        ((1.0, 3.0, 2.0, 1.0), (1.0, 2.0, 1.0, 0.9), 3, 2),
        ((1.0, 9.0), (0.0, 1.0), 2, 0),
        ((float("nan"), 1.0), (1.0, 1.0), 1, 0),
    ],
)
def test_less_noise_than_was_reported_is_a_finding_at_the_widest_step(
    stage: SimpleNamespace, reported: tuple[float, ...], measured: tuple[float, ...], steps: int, widest: int | None
) -> None:
    found = audited(measurement(reported, measured)).findings
    assert len(found) == min(steps, 1)
    for one in found:
        assert (one.rule, one.severity, one.strength) == ("DPA403", Severity.MAJOR, Strength.HEURISTIC)
        assert (one.evidence["step"], one.evidence["steps"]) == (widest, steps)
        assert f"at {steps} of {len(reported)} steps" in one.message
        assert one.evidence["measured"] == measured[widest]  # type: ignore[index]


def test_a_record_that_tells_of_other_steps_than_it_measured_is_an_error(stage: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="shorter"):
        audited(measurement((1.0, 1.0), (1.0,)))


def test_a_finding_of_an_attack_is_told_by_its_command() -> None:
    attack = SimpleNamespace(command="dpaudit attack x.py", findings=(finding("DPA301"), finding("DPA401")))
    first, second = findings_of((attack,))  # type: ignore[arg-type]
    assert is_from_attack(first)
    assert is_from_attack(second)
    assert not is_from_attack(finding("DPA301"))
    assert not is_from_attack(replace(first, rerun="dpaudit gate x.py"))
    assert findings_of(()) == ()
