"""The properties layer through the gate's command: rows that are not finite, and a mechanism that hangs."""

import json
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.contract import ExitCode

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


def test_rows_that_are_not_finite_pass_a_published_clip_and_not_its_guarded_twin(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, (published, guarded) = gate(
        capsys,
        f"{SPECIMENS / 'broken.py'}::PublishedStyle",
        f"{SPECIMENS / 'honest.py'}::Guarded",
        *("--nonfinite", "raw", "--layers", "properties"),
    )
    assert code == ExitCode.REJECTED
    assert published["verdict"] == "REJECTED"
    assert rules_of(published) == {"DPA209": "critical", "DPA213": "major"}  # NaN and Inf; overflow of float16
    assert guarded["verdict"] == "INCONCLUSIVE"  # one layer alone accepts nothing
    assert rules_of(guarded) == {}


def test_a_mechanism_that_hangs_is_stopped_at_the_limit_and_reported(capsys: pytest.CaptureFixture[str]) -> None:
    spec = f"{SPECIMENS / 'broken.py'}::Hangs"
    code, (audit,) = gate(capsys, spec, "--layers", "properties", "--time-limit", "3")
    assert (code, audit["verdict"]) == (ExitCode.INCONCLUSIVE, "INCONCLUSIVE")
    assert rules_of(audit) == {"DPA013": "major"}
    assert "did not return within 3 s" in json.dumps(audit)
