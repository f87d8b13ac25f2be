"""One audit with the probe and the layers told what to say: what they get, and what becomes of what they bring."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dpaudit.contract import (
    AuditReport,
    Bracket,
    Calibration,
    Finding,
    Form,
    Layer,
    LayerRecord,
    Measurement,
    NoiseClass,
    Outcome,
    RunConfig,
    RunRecord,
    Severity,
    StaticResult,
    Strength,
    Verdict,
)  # fmt: skip
from dpaudit.gate import DEFAULT_LAYERS, TrainingResult, auditing
from dpaudit.gate.auditing import accuracy_rows, audit, now, training_failure, versions
from dpaudit.gate.layers import LayerRuns
from dpaudit.gate.watch import PROBE

CONFIG = RunConfig(
    dataset_size=5000, batch_size=40, expected_batch=40.0, epochs=1, steps_per_epoch=40, max_grad_norm=1.0,
    target_epsilon=3.0, target_delta=1e-5, noise_multiplier=1.0, parameter_shapes=((3, 4),),
)  # fmt: skip
PROVED = Bracket(lower=1.0, upper=2.5, lower_method="pair", upper_method="bound")
MEASUREMENT = Measurement(
    outcome=Outcome.PASSED, reported=(1.0, 1.1), measured=(1.0, 1.2), classes=(NoiseClass.CLEAN,) * 2, demonstrated=True,
    pair="this pair", findings=(), seconds=0.1, notes=("a note of the probe",),
)  # fmt: skip
STATIC = StaticResult(
    sigma_effective=(1.0,) * 40, refusal=None, assumptions=("taken for granted",), certificate={"bound": 1.0},
)  # fmt: skip


def layer(which: Layer, outcome: Outcome = Outcome.PASSED) -> LayerRecord:
    return LayerRecord(layer=which, outcome=outcome, ran=True, summary="as told")


def finding(rule: str = "DPA401", severity: Severity = Severity.MAJOR, **changes: Any) -> Finding:
    made = Finding(
        rule=rule, severity=severity, strength=Strength.PROOF, message=f"said by {rule}", file="mechanism.py"
    )
    return replace(made, **changes)


def record(**changes: Any) -> RunRecord:
    made = RunRecord(
        directory="run", mechanism="mechanism.py", class_name="DPMechanism", source_sha256="", dataset="MNIST",
        config=CONFIG, seed=1, completed=True, accuracy=90.0, best_accuracy_on_test=None, seconds=1.0, ledger=(),
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """The probe and the layers, told what to say; ``audit`` runs on a file that is never executed."""
    told = SimpleNamespace(
        measurement=MEASUREMENT, asked=[], path=tmp_path / "mechanism.py", imports=(),
        runs=LayerRuns(
            records=tuple(layer(which) for which in Layer), replayed=PROVED, static=STATIC, claimed=2.0, reported=PROVED,
            effective=PROVED, empirical_lower=0.5, honest_noise_factor=0.9,
        ),
    )  # fmt: skip
    told.path.write_text("class DPMechanism:\n    pass\n")

    def measure(source: object, config: object, *, time_limit: float, progress: object) -> Measurement:
        told.asked.append(("probe", time_limit, progress))
        if isinstance(told.measurement, Exception):
            raise told.measurement
        return told.measurement

    def run_layers(
        source: object, config: object, measurement: object, layers: object, records: object, **named: object
    ) -> LayerRuns:
        told.asked.append(("layers", layers, records, named))
        return told.runs

    def audited(**options: Any) -> AuditReport:
        return audit(str(told.path), options.pop("config", CONFIG), command="again", **options)

    monkeypatch.setattr(auditing, "measure", measure)
    monkeypatch.setattr(auditing, "run_layers", run_layers)
    monkeypatch.setattr(auditing, "benchmark_imports", lambda source: told.imports)
    told.audit = audited
    return told


def test_everything_that_was_told_is_in_the_report(stage: SimpleNamespace) -> None:
    report = stage.audit()
    assert report.verdict is Verdict.ACCEPTED
    assert report.layers == stage.runs.records
    epsilon = report.epsilon
    assert (epsilon.target, epsilon.delta, epsilon.reported, epsilon.empirical_lower) == (3.0, 1e-5, 2.0, 0.5)
    assert (epsilon.reported_bracket, epsilon.replayed, report.sigma.effective) == (PROVED, PROVED, PROVED)
    assert (report.sigma.reported, report.sigma.measured) == ((1.0, 1.1), (1.0, 1.2))
    assert (report.honest_noise_factor, report.pair, report.certificate) == (0.9, "this pair", {"bound": 1.0})
    assert "Taken for granted." in report.assumptions
    assert "A note of the probe." in report.blind_spots
    assert (report.command, report.class_name, report.mechanism) == ("again", "DPMechanism", str(stage.path))
    assert 0 <= report.seconds < 60
    assert report.versions == versions()
    stage.runs.static = None
    without = stage.audit()
    assert without.certificate == {}
    assert "Taken for granted." not in without.assumptions


@pytest.mark.parametrize(("given", "limit"), [(None, 122.0), (7.0, 7.0)])
def test_time_and_progress_are_handed_on(stage: SimpleNamespace, given: float | None, limit: float) -> None:
    watch = SimpleNamespace(said=[], advance=lambda done, total: None)
    watch.begin = watch.said.append
    stage.audit(time_limit=given, watch=watch, layers=(Layer.REPLAY,))
    (_, probe_limit, progress), (_, layers, records, named) = stage.asked
    assert (probe_limit, progress, watch.said) == (limit, watch.advance, [PROBE])
    assert (layers, records) == ((Layer.REPLAY,), ())
    assert named == {"command": "again", "time_limit": given, "told": (), "watch": watch}
    stage.asked.clear()
    stage.audit()
    assert stage.asked[0][2] is None
    assert stage.asked[1][1] == DEFAULT_LAYERS


@pytest.mark.parametrize("rule", ["DPA001", "DPA012", "DPA013", "DPA014", "DPA401"])
def test_what_cannot_run_is_not_trained(stage: SimpleNamespace, rule: str) -> None:
    trained: list[int] = []

    def train() -> TrainingResult:
        trained.append(1)
        return TrainingResult(records=(record(),))

    stage.measurement = replace(MEASUREMENT, findings=(finding("DPA403", Severity.MINOR), finding(rule)))
    report = stage.audit(train=train)
    assert len(trained) == (1 if rule == "DPA401" else 0)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert rule in {found.rule for found in report.findings}


def test_ledgers_of_the_same_form_are_compared_and_those_of_the_same_run_are_told_of(stage: SimpleNamespace) -> None:
    same, other_form = record(), record(form=Form.WEIGHTS)
    other_run = record(config=replace(CONFIG, epochs=2), seed=2)
    result = TrainingResult(records=(same, other_form, other_run), notes=("no data here",))
    report = stage.audit(train=lambda: result)
    assert stage.asked[1][2] == (same, other_run)
    assert any(text.startswith("1 training run(s) left a ledger") for text in report.assumptions)
    assert "No data here." in report.blind_spots
    assert report.accuracy[0].runs == 3
    assert not any("was recorded" in text for text in report.blind_spots)
    alone = stage.audit(train=lambda: TrainingResult(records=(other_run,)))
    assert any("No ledger of a training run" in text for text in alone.assumptions)
    assert any("none under this configuration was recorded" in text for text in alone.blind_spots)


def test_findings_of_all_sources_count_the_worst_first_each_with_the_command(stage: SimpleNamespace) -> None:
    stage.measurement = replace(MEASUREMENT, findings=(finding("DPA204"),))
    stage.runs.findings = (finding("DPA101", Severity.MINOR),)
    stage.imports = (finding("DPA015"),)
    known = (finding("DPA403", Severity.CRITICAL, strength=Strength.HEURISTIC),)
    trained = TrainingResult(findings=(training_failure("mechanism.py", 3, "it broke"),))
    config = replace(CONFIG, calibration=Calibration.BENCHMARK)
    report = stage.audit(known=known, train=lambda: trained, config=config)
    assert [found.rule for found in report.findings] == ["DPA403", "DPA204", "DPA015", "DPA501", "DPA101"]
    assert {found.rerun for found in report.findings} == {"again"}
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "DPA015" not in {found.rule for found in stage.audit(known=known).findings}


def test_a_required_layer_is_required(stage: SimpleNamespace) -> None:
    stage.runs.records = tuple(layer(which) for which in Layer if which is not Layer.EMPIRICAL)
    assert stage.audit().verdict is Verdict.ACCEPTED
    assert stage.audit(required=(Layer.EMPIRICAL,)).verdict is Verdict.INCONCLUSIVE


def test_a_probe_that_breaks_is_the_audits_own_fault(stage: SimpleNamespace) -> None:
    stage.measurement = ValueError("probe fell over")
    trained: list[int] = []
    report = stage.audit(train=lambda: trained.append(1))
    assert report.broken
    assert not trained
    assert "DPA001" in {found.rule for found in report.findings}


def test_a_file_that_cannot_be_loaded_is_audited_too(stage: SimpleNamespace) -> None:
    stage.path.write_text("def (")
    report = stage.audit(known=(finding("DPA403", Severity.MINOR),))
    assert report.verdict is not Verdict.ACCEPTED
    assert len(report.findings) == 2
    assert {found.rerun for found in report.findings} == {"again"}
    assert [(entry.layer, entry.ran, entry.outcome) for entry in report.layers] == [
        (which, False, Outcome.NOT_APPLICABLE) for which in Layer
    ]
    assert report.epsilon.replayed.lower is report.epsilon.replayed.upper is None
    assert "No ledger" in " ".join(report.assumptions)
    assert 0 <= report.seconds < 60
    assert not stage.asked


def test_findings_keep_their_command_where_the_audit_has_none(stage: SimpleNamespace) -> None:
    stage.runs.findings = (finding(rerun="dpaudit probe"), finding("DPA301", rerun="dpaudit attack mechanism.py"))
    assert [found.rerun for found in stage.audit().findings] == ["again", "dpaudit attack mechanism.py"]
    silent = audit(str(stage.path), CONFIG)
    assert [found.rerun for found in silent.findings] == ["dpaudit probe", "dpaudit attack mechanism.py"]


def test_accuracy_is_the_mean_and_the_sample_deviation_of_completed_runs() -> None:
    runs = [
        record(accuracy=90.0, best_accuracy_on_test=92.0), record(accuracy=93.0, best_accuracy_on_test=None),
        record(accuracy=96.0, best_accuracy_on_test=97.0), record(accuracy=None, completed=False, best_accuracy_on_test=99.0),
        record(dataset="CIFAR-10", accuracy=70.0), record(dataset="digits", accuracy=None),
    ]  # fmt: skip
    mnist, cifar = accuracy_rows(runs)
    assert (mnist.dataset, mnist.mean, mnist.std, mnist.runs, mnist.best_on_test_mean) == ("MNIST", 93.0, 3.0, 3, 94.5)
    assert (cifar.mean, cifar.std, cifar.runs, cifar.best_on_test_mean) == (70.0, None, 1, None)
    (pair,) = accuracy_rows([record(accuracy=90.0), record(accuracy=92.0)])
    assert pair.std == pytest.approx(math.sqrt(2.0))


def test_a_failed_training_is_a_finding_that_refutes_nothing() -> None:
    failed = training_failure("mechanism.py", 7, "it broke")
    assert (failed.rule, failed.severity, failed.file, failed.line) == ("DPA501", Severity.MAJOR, "mechanism.py", 7)
    assert not failed.refutes


def test_the_time_of_writing_is_utc_to_the_second() -> None:
    written = datetime.fromisoformat(now())
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60
    assert written.microsecond == 0
    assert {"python", "dpaudit", "torch", "numpy", "scipy", "dp-accounting"} == set(versions())


def test_attacks_are_kept_and_said_to_be_taken_at_their_word(
    stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(auditing, "require_same", lambda *what: asked.append(what))
    attack = SimpleNamespace(findings=(finding("DPA301"),), command="dpaudit attack mechanism.py")
    report = stage.audit(attacks=(attack,))
    assert report.attacks == (attack,)
    assert auditing.ASSUMED in report.assumptions
    assert len(asked) == 1
    (told,) = stage.asked[1][3]["told"]
    assert told.rerun == "dpaudit attack mechanism.py"
    assert auditing.ASSUMED not in stage.audit().assumptions
