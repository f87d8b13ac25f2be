"""Whole audits of what costs nothing (post-processing) and of what no single step shows (correlated noise)."""

import json
from pathlib import Path

import pytest

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.contract import AuditReport, Cell, RunConfig, Severity, Verdict
from dpaudit.gate import audit

ROOT = Path(__file__).resolve().parents[2]
POST_PROCESSED = ROOT / "tests" / "properties" / "specimens" / "post_processed.py"
BANDED = ROOT / "mechanisms" / "inconclusive" / "banded_noise.py"
STEPS = 12
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


def rules(report: AuditReport, *severities: Severity) -> set[str]:
    return {finding.rule for finding in report.findings if finding.severity in severities}


def test_a_post_processed_release_is_accepted() -> None:
    report = audit(f"{POST_PROCESSED}::Signs", CONFIG)
    assert report.verdict is Verdict.ACCEPTED, report.reasons
    assert report.epsilon.replayed.lower is None  # nothing is demonstrated by what loses information


@pytest.mark.parametrize(
    ("name", "verdict", "expected"),
    [
        ("SignsOneBareBroken", Verdict.REJECTED, {"DPA204"}),
        # Bounded before it is added: no layer takes the clamp for post-processing.
        ("ClampedNoiseBroken", Verdict.INCONCLUSIVE, {"DPA112", "DPA207"}),
    ],
)
def test_post_processing_covers_no_fault(name: str, verdict: Verdict, expected: set[str]) -> None:
    report = audit(f"{POST_PROCESSED}::{name}", CONFIG)
    assert report.verdict is verdict
    assert expected <= rules(report, Severity.MAJOR, Severity.CRITICAL)


def test_a_claim_about_correlated_noise_is_held_against_the_measurement(tmp_path: Path) -> None:
    """The true claim leaves no finding of its own, a false one is named; neither lends an upper end to epsilon."""
    false = tmp_path / "false_claim.py"
    text = BANDED.read_text()
    assert text.count('"bands": [1.0, -0.5]') == 1
    false.write_text(text.replace('"bands": [1.0, -0.5]', '"bands": [1.0, -0.2]'))
    honest, wrong = audit(str(BANDED), CONFIG), audit(str(false), CONFIG)
    for report in (honest, wrong):
        assert report.verdict is Verdict.INCONCLUSIVE
        assert report.epsilon.replayed.upper is None
        assert "DPA207" in rules(report, Severity.MAJOR)
    assert "DPA218" not in json.dumps([finding.rule for finding in honest.findings])
    claim = next(finding for finding in wrong.findings if finding.rule == "DPA218")
    assert claim.severity is Severity.MAJOR
    assert "privacy_events() claims mu" in claim.message
