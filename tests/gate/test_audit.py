"""Whole audits at small size: every candidate ends with a verdict, and the record says why."""

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.cli import main
from dpaudit.commands.verify import faults_of
from dpaudit.commands.witness import rechecks
from dpaudit.contract import (
    AuditReport,
    Bracket,
    Cell,
    ExitCode,
    Finding,
    Layer,
    RunConfig,
    Severity,
    StaticResult,
    Strength,
    UsageError,
    Verdict,
    fold_exit_code,
)
from dpaudit.gate import DEFAULT_LAYERS, TrainingResult, audit
from dpaudit.gate.auditing import training_failure
from dpaudit.probe import MechanismSource
from dpaudit.report import from_json, to_json
from dpaudit.static import analyse

STEPS = 120
CONFIG = RunConfig(
    dataset_size=5000,
    batch_size=40,
    expected_batch=40.0,
    epochs=2,
    steps_per_epoch=STEPS // 2,
    max_grad_norm=1.0,
    target_epsilon=3.0,
    target_delta=1e-5,
    noise_multiplier=calibrate_noise_multiplier(
        target_epsilon=3.0, delta=1e-5, cell=Cell(), sampling_probability=0.008, steps=STEPS
    ).noise_multiplier,
    parameter_shapes=((3, 4), (3,)),
)
HEAD = """
import torch

class DPMechanism:
    def __init__(self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs,
                 target_epsilon, target_delta):
        self.c, self.z, self.b = max_grad_norm, noise_multiplier, batch_size

    def get_effective_sigma(self, step, epoch):
        return self.z

    def clip_and_noise(self, per_sample_grads, step, epoch):
"""
HONEST = """
norms = torch.stack([g.flatten(1).norm(dim=1) for g in per_sample_grads]).norm(dim=0)
w = (self.c / norms.clamp(min=1e-12)).clamp(max=1)
sums = [torch.tensordot(w, g, 1) for g in per_sample_grads]
return [(s + self.z * self.c * torch.randn_like(s)) / self.b for s in sums]
"""


@pytest.fixture
def audited(tmp_path: Path) -> Callable[..., AuditReport]:
    def run(
        body: str, *, head: str = HEAD, layers: tuple[Layer, ...] = (Layer.REPLAY,), **options: object
    ) -> AuditReport:
        path = tmp_path / "candidate.py"
        path.write_text(head + textwrap.indent(textwrap.dedent(body), " " * 8))
        return audit(str(path), CONFIG, layers=layers, command="again", **options)  # type: ignore[arg-type]

    return run


def found(report: AuditReport) -> set[str]:
    return {finding.rule for finding in report.findings}


def test_an_honest_mechanism_under_one_layer_is_neither_accepted_nor_rejected(
    audited: Callable[..., AuditReport],
) -> None:
    report = audited(HONEST)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.epsilon.replayed.lower == pytest.approx(3.0, rel=2e-3)
    assert report.epsilon.replayed.upper is None
    assert {layer.layer for layer in report.layers} == set(Layer)
    assert fold_exit_code([report]) is ExitCode.INCONCLUSIVE


def test_half_the_noise_is_rejected_with_the_factor_that_mends_it(audited: Callable[..., AuditReport]) -> None:
    report = audited(HONEST.replace("self.z * self.c", "0.5 * self.z * self.c"))
    assert report.verdict is Verdict.REJECTED
    assert found(report) >= {"DPA403", "DPA404"}
    assert report.honest_noise_factor == pytest.approx(2.0, rel=2e-3)
    assert all(finding.rerun for finding in report.findings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class DPMechanism(:\n", "syntax"),
        ("class Other:\n    pass\n", "DPMechanism"),
        ("", "DPMechanism"),
    ],
)
def test_a_file_that_does_not_load_has_a_verdict(audited: Callable[..., AuditReport], text: str, message: str) -> None:
    report = audited("", head=text)
    assert (report.verdict, found(report)) == (Verdict.INCONCLUSIVE, {"DPA011"})
    assert message.lower() in report.findings[0].message.lower()


def test_an_exit_is_a_finding_and_nothing_is_trained(audited: Callable[..., AuditReport]) -> None:
    def train() -> TrainingResult:
        raise AssertionError("a mechanism that cannot run must not be trained")

    report = audited("import os\nos._exit(0)", train=train)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert found(report) in ({"DPA012"}, {"DPA013"})
    assert "exit" in report.findings[0].message


def test_a_loop_without_end_is_stopped_at_the_limit(audited: Callable[..., AuditReport]) -> None:
    report = audited("while True: pass", time_limit=8.0)
    assert (report.verdict, found(report)) == (Verdict.INCONCLUSIVE, {"DPA013"})
    assert report.seconds < 60


def test_a_training_run_that_failed_costs_acceptance_and_is_named(audited: Callable[..., AuditReport]) -> None:
    failure = training_failure("candidate.py", 3, "the training process was stopped after 1 s")
    report = audited(HONEST, train=lambda: TrainingResult(findings=(failure,)))
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "DPA501" in found(report)


def test_a_crash_of_the_probe_is_the_audits_own_fault(
    audited: Callable[..., AuditReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("dpaudit.gate.auditing.measure", crash)
    report = audited(HONEST)
    assert (report.verdict, found(report)) == (Verdict.INCONCLUSIVE, {"DPA001"})
    assert fold_exit_code([report]) is ExitCode.BROKEN


@pytest.mark.parametrize("part", ["replay", "contradictions"])
def test_a_crash_of_a_layer_is_the_audits_own_fault(
    audited: Callable[..., AuditReport], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(f"dpaudit.gate.layers.{part}", crash)
    report = audited(HONEST)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "DPA001" in found(report)
    assert fold_exit_code([report]) is ExitCode.BROKEN


def test_an_absent_file_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no-such-file"):
        audit("no-such-file.py", CONFIG)


def test_an_honest_mechanism_is_accepted_and_its_report_verifies(audited: Callable[..., AuditReport]) -> None:
    report = audited(HONEST, layers=DEFAULT_LAYERS)
    assert report.verdict is Verdict.ACCEPTED, report.reasons
    assert report.epsilon.replayed.upper is not None
    assert report.epsilon.replayed.upper <= CONFIG.target_epsilon
    assert report.epsilon.replayed.relative_width < 0.01
    (read,) = from_json(to_json([report]))
    assert read == report
    assert tuple(faults_of(read)) == ()

    cheap = report.epsilon.replayed.upper / 2
    boasting = replace(report, epsilon=replace(report.epsilon, replayed=Bracket(lower=None, upper=cheap)))
    (fault,) = faults_of(boasting)
    assert "does not follow" in fault

    steps = json.loads(json.dumps(report.certificate))
    steps["schedule"][0]["sigma"] *= 1.5
    (fault,) = faults_of(replace(report, certificate=steps))
    assert "certificate" in fault

    measured = tuple(sigma and sigma / 2 for sigma in report.sigma.measured)
    (fault,) = faults_of(replace(report, sigma=replace(report.sigma, measured=measured)))
    assert "measured schedule" in fault

    (fault,) = faults_of(replace(report, certificate={}))
    assert "certificate does not check" in fault


def test_a_rejection_without_a_witness_does_not_verify(audited: Callable[..., AuditReport]) -> None:
    report = audited("", head="")
    assert tuple(faults_of(report)) == ()
    assert tuple(faults_of(replace(report, verdict=Verdict.REJECTED))) == ("REJECTED without a finding that refutes",)


COUNTS = {"false_negatives": 0, "false_positives": 0, "inside": 1200, "outside": 1200}


def _attacked(report: AuditReport, **changes: object) -> AuditReport:
    evidence: dict[str, object] = {
        "level": 5e-7,
        "method": "per_step",
        "test": COUNTS,
        "confirmation": COUNTS,
        "cell": str(report.config.cell),
        "drawn_by": str(report.config.cell.sampler),
    }
    return _with_finding(report, "DPA301", {**evidence, **changes})


def _paired(report: AuditReport, **changes: object) -> AuditReport:
    evidence: dict[str, object] = {
        "counterexample": {
            "step": 0, "row": [3.0, 4.0], "content": "zeros", "count": 1, "history": "zeros", "shapes": [[2]], "dtype": "float64",
        },
        "step": 0,
        "reported": report.sigma.reported[0],
        "noise_multiplier": 0.4,
        "smallest_noise_multiplier": 0.4,
        "demonstrated_steps": STEPS,
    }  # fmt: skip
    return _with_finding(report, "DPA201", {**evidence, **changes})


def _with_finding(report: AuditReport, rule: str, evidence: dict[str, object]) -> AuditReport:
    finding = Finding(
        rule=rule,
        severity=Severity.CRITICAL,
        strength=Strength.PROOF,
        message="a witness",
        file="m.py",
        evidence=evidence,  # type: ignore[arg-type]
    )
    return replace(report, findings=(*report.findings, finding))


def test_a_rejection_verifies_and_no_change_of_its_witness_does(
    audited: Callable[..., AuditReport], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = audited(HONEST.replace("self.z * self.c", "0.5 * self.z * self.c"))
    written = tmp_path / "report.json"
    written.write_text(to_json([_attacked(_paired(report))]))
    assert main(["verify", str(written)]) == 0
    shown = capsys.readouterr().out
    for rule in ("DPA201", "DPA301", "DPA403", "DPA404"):
        assert f"  {rule}: re-checked: " in shown
    assert "not re-checked, for it needs the code" in shown

    def tampered(rule: str, **changes: object) -> AuditReport:
        findings = tuple(
            replace(f, evidence={**f.evidence, **changes}) if f.rule == rule else f  # type: ignore[dict-item]
            for f in report.findings
        )
        return replace(report, findings=findings)

    example = {**_paired(report).findings[-1].evidence["counterexample"]}  # type: ignore[dict-item]
    weak = {**COUNTS, "false_negatives": 600, "false_positives": 600}
    for changed in (
        tampered("DPA404", epsilon_lower=2.0),
        tampered("DPA404", epsilon_lower="much"),
        tampered("DPA403", measured=0.1),
        tampered("DPA403", step=10_000),
        _paired(report, smallest_noise_multiplier=20.0, noise_multiplier=0.1),
        _paired(report, noise_multiplier=9.0, smallest_noise_multiplier=9.0),
        _paired(report, demonstrated_steps=STEPS + 1),
        _paired(report, epsilon_lower=1e6),
        _paired(report, step=1),
        _paired(report, counterexample={**example, "row": [1.0]}),
        _paired(report, smallest_noise_multiplier=float("nan")),
        _attacked(report, test=weak),
        _attacked(report, confirmation=weak),
        _attacked(report, level=0.05),
        _attacked(report, test={}),
        _attacked(report, cell="another"),
    ):
        (fault,) = faults_of(changed)
        assert "does not follow" in fault


def test_a_witness_that_is_what_the_code_did_is_said_to_be_unchecked(audited: Callable[..., AuditReport]) -> None:
    report = _with_finding(audited("", head=""), "DPA203", {})
    (recheck,) = rechecks(report)
    assert (recheck.faults, recheck.checked) == ((), "")
    assert "code" in recheck.unchecked


def test_a_static_bound_above_what_is_measured_is_a_defect_of_the_audit(
    audited: Callable[..., AuditReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both real layers look at a mechanism with 0.8 of its noise; the static layer is made to prove that of an honest one."""

    def boast(source: MechanismSource, config: RunConfig, *, time_limit: float) -> StaticResult:
        return replace(
            analyse(source, config, time_limit=time_limit), sigma_effective=(config.noise_multiplier,) * STEPS
        )

    monkeypatch.setattr("dpaudit.gate.layers.analyse", boast)
    report = audited(
        HONEST.replace("self.z * self.c", "0.8 * self.z * self.c"),
        layers=(Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY),
    )
    defects = [finding.message for finding in report.findings if finding.rule == "DPA002"]
    assert any("step 0: measured" in message for message in defects)
    assert any("property search" in message for message in defects)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert fold_exit_code([report]) is ExitCode.BROKEN
