"""The properties layer through the gate's command: rows that are not finite, and a mechanism that hangs."""

import json
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.contract import Cell, ExitCode, Layer, NonFinite, RunConfig, Severity, Verdict
from dpaudit.gate import audit

SPECIMENS = Path(__file__).resolve().parents[1] / "properties" / "specimens"


def gate(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, object]]]:
    """Exit code and audits of ``dpaudit gate`` on the digits."""
    code = main(["gate", *words, "--preset", "digits", "--accuracy", "none", "--format", "json", "--quiet"])
    audits: list[dict[str, object]] = json.loads(capsys.readouterr().out)["audits"]
    return code, audits


def rules_of(audit: dict[str, object]) -> dict[str, str]:
    findings = audit["findings"]
    assert isinstance(findings, list)
    return {finding["rule"]: finding["severity"] for finding in reversed(findings)}


def test_rows_that_are_not_finite_pass_a_published_clip_and_not_its_guarded_twin() -> None:
    config = RunConfig(
        dataset_size=5000,
        batch_size=40,
        expected_batch=40.0,
        epochs=1,
        steps_per_epoch=8,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=0.8,
        cell=Cell(nonfinite=NonFinite.RAW),
        parameter_shapes=((3, 4), (3,)),
    )
    published = audit(f"{SPECIMENS / 'broken.py'}::PublishedStyle", config, layers=(Layer.PROPERTIES,))
    guarded = audit(f"{SPECIMENS / 'honest.py'}::Guarded", config, layers=(Layer.PROPERTIES,))
    assert published.verdict is Verdict.REJECTED
    assert {"DPA209", "DPA213"} <= {f.rule for f in published.findings}  # NaN and Inf; overflow of float16
    assert any(f.rule == "DPA209" and f.severity is Severity.CRITICAL for f in published.findings)
    assert guarded.verdict is Verdict.INCONCLUSIVE  # one layer alone accepts nothing
    assert guarded.findings == ()


def test_a_mechanism_that_hangs_is_stopped_at_the_limit_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    spec = f"{SPECIMENS / 'broken.py'}::Hangs"
    code, (audit,) = gate(capsys, spec, "--layers", "properties", "--time-limit", "3")
    assert (code, audit["verdict"]) == (ExitCode.INCONCLUSIVE, "INCONCLUSIVE")
    assert rules_of(audit) == {"DPA013": "major"}
    assert "did not return within 3 s" in json.dumps(audit)
