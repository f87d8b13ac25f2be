"""The pages of an attack: every number with its level, design and validity, curves as SVG, nothing of the candidate's as code."""

import dataclasses
import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from dpaudit.contract import (
    AttackReport,
    AuditBrokenError,
    BoundRecord,
    Finding,
    Outcome,
    PlaceRecord,
    ReplayedStepRecord,
    RocRecord,
    RunConfig,
    Severity,
    Strength,
    UsageError,
)
from dpaudit.report import attack_html, attack_json, attack_text, write_attack
from dpaudit.report.svg_roc import roc_plot

CONFIG = RunConfig(
    dataset_size=1_437,
    batch_size=64,
    expected_batch=64.0,
    epochs=12,
    steps_per_epoch=22,
    max_grad_norm=1.0,
    target_epsilon=3.0,
    target_delta=1e-5,
    noise_multiplier=1.3,
    name="digits",
)
CURVE = RocRecord(
    fpr=(0.0, 0.1, 1.0),
    tpr=(0.0, 0.4, 1.0),
    lower=(0.0, 0.3, 0.9),
    upper=(0.1, 0.5, 1.0),
    level=0.05,
    bands_valid=False,
    claimed=((0.0, 0.0), (0.1, 0.5), (1.0, 1.0)),
    auc=0.65,
    at_low_rates=((0.01, 0.02),),
)


def bound(method: str, *, valid: bool, counts: bool = False, epsilon: float = 1.2345678) -> BoundRecord:
    return BoundRecord(
        method=method,
        epsilon=epsilon,
        ceiling=math.inf,
        level=0.025,
        design="one_run",
        family="none",
        valid=valid,
        counts_here=counts,
        noise_deficit=None,
        counts={"canaries": 100},
        note="",
    )


def report(**changes: object) -> AttackReport:
    place = PlaceRecord(
        name="white box",
        words="what was scored",
        design="one_run",
        trials=100,
        gate_level=5e-7,
        ceiling=2.5,
        able=False,
        needed=444,
        refuted_by="",
        bounds=(bound("steinke", valid=True, counts=True), bound("gdp", valid=False, epsilon=9.0)),
        roc=CURVE,
    )
    finding = Finding(
        rule="DPA407",
        severity=Severity.MAJOR,
        strength=Strength.STATISTICAL,
        message="<script>alert(1)</script>\x1b[31m",
        file="evil<b>.py",
    )
    made = AttackReport(
        mode="train",
        mechanism="evil<b>.py",
        class_name="DPMechanism",
        source_sha256="0" * 64,
        config=CONFIG,
        outcome=Outcome.INCONCLUSIVE,
        summary="underpowered",
        epsilon_lower=1.2345678,
        places=(place,),
        accuracy=(("with 100 canaries", 87.5, "digits"),),
        replayed=(
            ReplayedStepRecord(
                step=7, reproduced=False, reported_sigma=1.3, measured_noise=None, largest_contribution=0.015
            ),
        ),
        findings=(finding,),
        notes=("a note",),
        command="dpaudit attack",
        seconds=12.0,
        created="2026-01-01T00:00:00+00:00",
        versions={"python": "3.11"},
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def test_the_page_shows_everything_and_runs_nothing() -> None:
    page = attack_html(report())
    assert "<script" not in page
    assert "evil<b>" not in page
    assert "\x1b" not in page
    for text in ("1.2345", "yes, counts", "no: the design does not support it", "444", "87.50", "inf"):
        assert text in page
    assert "as if scores were independent" in page
    assert page.count("<polyline") == 3
    assert page.count("<polygon") == 1


def test_the_plot_is_well_formed_and_stays_inside() -> None:
    root = ET.fromstring(roc_plot("x", "title", "words", CURVE))
    for element in root.iter():
        for pair in element.attrib.get("points", "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 1000
            assert 0 <= y <= 1000
    points = [element.attrib["points"] for element in root.iter() if element.tag == "polyline"]
    assert points[-1] == "0,1000 100,600 1000,0"


def test_the_record_is_plain_and_refuses_a_nan() -> None:
    data = json.loads(attack_json(report()))
    assert data["schema"] == "dpaudit.attack/1"
    assert data["places"][0]["bounds"][0]["ceiling"] == "inf"
    assert data["config"]["cell"]["sampler"] == "poisson"
    assert {field.name for field in dataclasses.fields(AttackReport)} | {"schema"} == set(data)
    with pytest.raises(AuditBrokenError):
        attack_json(report(epsilon_lower=math.nan))
    with pytest.raises(AuditBrokenError):
        attack_html(report(epsilon_lower=math.nan))


def test_the_text_names_power_design_and_validity() -> None:
    text = attack_text(report())
    assert text.startswith("inconclusive: underpowered\n")
    assert "a perfect attack could NOT have refuted the claim at level 5e-07 (444 needed; ceiling 2.5)" in text
    assert "NOT REPRODUCED, reported 1.3, measured unknown" in text
    assert "\x1b" not in text
    rows = [line.split() for line in text.splitlines() if line.startswith(("  steinke", "  gdp"))]
    assert rows == [
        ["steinke", "1.2345", "inf", "0.025", "none", "yes,", "counts"],
        ["gdp", "9", "inf", "0.025", "none", "no"],
    ]


def test_the_files_are_written_whole_or_the_place_is_named(tmp_path: Path) -> None:
    written = write_attack(report(), tmp_path / "a" / "b")
    assert [path.name for path in written] == ["attack.json", "attack.txt", "attack.md", "attack.html"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"expected to create .*file"):
        write_attack(report(), tmp_path / "file")
