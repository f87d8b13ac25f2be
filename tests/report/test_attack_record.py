"""Records of attacks: read back as they were written, refused where they contradict themselves, shown within an audit."""

import dataclasses
import json
import math
import re
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dpaudit.contract import (
    AttackReport,
    AuditReport,
    BoundRecord,
    DataError,
    Finding,
    Outcome,
    PlaceRecord,
    ReplayedStepRecord,
    RocRecord,
    Severity,
    Strength,
    UsageError,
)
from dpaudit.report import (
    Form,
    attack_from_json,
    attack_json,
    attack_markdown,
    attack_text,
    from_json,
    render_attacks,
    to_html,
    to_json,
    to_markdown,
    to_text,
)

HOSTILE = "<script>alert(1)</script>|`x`\x1b[31m{{7*7}}"
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
REFUTATION = Finding(
    rule="DPA301",
    severity=Severity.CRITICAL,
    strength=Strength.STATISTICAL,
    message="refuted",
    file="mechanism.py",
    evidence={"level": 5e-7, "epsilon_lower": math.inf, "$odd": ["inf"]},
)


def bound(method: str, *, valid: bool, counts_here: bool = False) -> BoundRecord:
    return BoundRecord(
        method=method,
        epsilon=1.25,
        ceiling=math.inf,
        level=0.025,
        design="one_run",
        family="none",
        valid=valid,
        counts_here=counts_here,
        noise_deficit=0.5,
        counts={"guessed": 10, "canaries": 100},
        note="",
    )


@pytest.fixture
def attack(accepted_report: AuditReport) -> AttackReport:
    """A training attack on the accepted sample that found nothing."""
    places = tuple(
        PlaceRecord(
            name=name,
            words="what was scored",
            design="one_run",
            trials=1000,
            gate_level=5e-7,
            ceiling=2.5,
            able=name == "white box",
            needed=444 if name == "white box" else None,
            refuted_by="",
            bounds=(bound("steinke", valid=True, counts_here=True), bound("gdp", valid=False)),
            roc=CURVE if name == "white box" else None,
        )
        for name in ("white box", "black box")
    )
    return AttackReport(
        mode="train",
        mechanism=accepted_report.mechanism,
        class_name=accepted_report.class_name,
        source_sha256=accepted_report.source_sha256,
        config=accepted_report.config,
        outcome=Outcome.PASSED,
        summary="nothing found",
        epsilon_lower=1.25,
        places=places,
        accuracy=(("with 1000 canaries", 87.5, "MNIST"), ("without canaries", 88.25, "MNIST")),
        replayed=(
            ReplayedStepRecord(
                step=7, reproduced=True, reported_sigma=1.3, measured_noise=None, largest_contribution=0.015
            ),
        ),
        findings=(),
        notes=("a note",),
        command="dpaudit attack mechanism.py --mode train",
        seconds=12.0,
        created="2026-01-01T00:00:00+00:00",
        versions={"python": "3.11"},
    )


def test_what_is_written_is_read_back(attack: AttackReport, accepted_report: AuditReport) -> None:
    refuting = dataclasses.replace(attack, outcome=Outcome.VIOLATED, findings=(REFUTATION,))
    for one in (attack, refuting, dataclasses.replace(attack, places=(), epsilon_lower=None)):
        assert attack_from_json(attack_json(one)) == one
        assert attack_json(attack_from_json(attack_json(one))) == attack_json(one)
    audit = dataclasses.replace(accepted_report, attacks=(attack, refuting))
    assert from_json(to_json([audit])) == (audit,)
    assert to_json(from_json(to_json([audit]))) == to_json([audit])
    assert "attacks" not in json.loads(to_json([accepted_report]))["audits"][0]


def test_the_schema_describes_it(attack: AttackReport, accepted_report: AuditReport) -> None:
    schema: dict[str, Any] = json.loads((files("dpaudit.report") / "schema.json").read_text(encoding="utf-8"))
    audit = dataclasses.replace(accepted_report, attacks=(attack,))
    Draft202012Validator(schema).validate(json.loads(to_json([audit])))
    by_itself = Draft202012Validator({**schema["$defs"]["attack"], "$defs": schema["$defs"]})
    by_itself.validate(json.loads(attack_json(attack)))
    broken = json.loads(to_json([audit]))
    broken["audits"][0]["attacks"][0]["places"][0]["roc"]["claimed"] = [[0.0]]
    assert not Draft202012Validator(schema).is_valid(broken)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("schema",), "dpaudit.attack/9", "schema dpaudit.attack/1"),
        (("outcome",), "violated", "not violated, as its findings say"),
        (("outcome",), "fine", "one of"),
        (("epsilon_lower",), "much", "a number"),
        (("config", "target_delta"), 1.0, "delta"),
        (("config",), {}, "with its cell"),
        (("places", 0, "bounds", 1, "counts_here"), True, "false beside a bound that is not valid"),
        (("places", 0, "roc", "tpr"), [0.0, 1.0], "as many points"),
        (("places", 0, "roc", "claimed"), [[0.0]], "a list of two"),
        (("accuracy",), [["with"]], "a list of three"),
        (("extra",), 1, "only the keys"),
    ],
)
def test_a_record_that_was_altered_is_refused(
    attack: AttackReport, place: tuple[Any, ...], value: object, message: str
) -> None:
    data = json.loads(attack_json(attack))
    part = data
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(DataError, match=message):
        attack_from_json(json.dumps(data))


def test_a_refutation_that_calls_itself_passed_is_refused(attack: AttackReport) -> None:
    with pytest.raises(DataError, match="violated, as its findings say"):
        attack_from_json(attack_json(dataclasses.replace(attack, findings=(REFUTATION,))))
    with pytest.raises(DataError, match="expected JSON"):
        attack_from_json(attack_json(attack)[:-20])


def test_the_audits_page_shows_curve_bounds_and_accuracy(attack: AttackReport, accepted_report: AuditReport) -> None:
    page = to_html(dataclasses.replace(accepted_report, attacks=(attack, attack)))
    assert page.count('class="curve attack"') == 2
    for text in (
        "with 1000 canaries",
        "without canaries",
        "87.50",
        "88.25",
        "yes, counts",
        "black box",
        attack.command,
    ):
        assert text in page
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    assert all(name in names for name in re.findall(r'aria-labelledby="([^" ]+)"', page))
    assert "Attacks on trainings" not in to_html(accepted_report)


def test_text_and_markdown_tell_the_same(attack: AttackReport, accepted_report: AuditReport) -> None:
    audit = dataclasses.replace(accepted_report, attacks=(attack,))
    flat = " ".join(to_text([audit]).split())
    assert "white box, 1000 trials, design one_run: epsilon at least 1.25 (steinke" in flat
    assert "accuracy without canaries: 88.25 % (MNIST)" in flat
    markdown = to_markdown([audit])
    assert "### Attack on training" in markdown
    assert "| steinke | 1.25 | inf | 0.025 | none | yes, counts |" in markdown
    assert "| gdp | 1.25 | inf | 0.025 | none | no |" in markdown
    assert "Accuracy without canaries: 88.25 %" in markdown


def test_hostile_text_stays_text(attack: AttackReport, accepted_report: AuditReport) -> None:
    place = dataclasses.replace(attack.places[0], name=HOSTILE, words=HOSTILE, refuted_by=HOSTILE)
    hostile = dataclasses.replace(
        attack,
        mode=HOSTILE,
        summary=HOSTILE,
        places=(place,),
        accuracy=((HOSTILE, 1.0, HOSTILE),),
        notes=(HOSTILE,),
        command=HOSTILE,
    )
    audit = dataclasses.replace(accepted_report, attacks=(hostile,))
    for text in (
        to_html(audit),
        to_text([audit]),
        to_markdown([audit]),
        attack_markdown(hostile),
        attack_text(hostile),
    ):
        assert "\x1b" not in text
    assert "<script" not in to_html(audit)
    outside_code = re.sub(r"^ {4}.*$", "", attack_markdown(hostile), flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)<script", outside_code)


def test_every_form_of_an_attack_by_itself(attack: AttackReport) -> None:
    assert render_attacks([attack], Form.TEXT).startswith("passed: nothing found")
    assert render_attacks([attack, attack], Form.MARKDOWN).count("# Attack: passed") == 2
    assert attack_from_json(render_attacks([attack], Form.JSON)) == attack
    assert render_attacks([attack], Form.HTML).startswith("<!DOCTYPE html>")
    for form, attacks in ((Form.JSON, [attack, attack]), (Form.HTML, []), (Form.SARIF, [attack])):
        with pytest.raises(UsageError, match="--format"):
            render_attacks(attacks, form)
