"""SARIF and Markdown: structure, stability, and that a candidate's text stays text."""

import copy
import dataclasses
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from fluidattacks_core.sarif import SarifLog
from jsonschema import Draft4Validator
from pydantic import ValidationError

from dpaudit.contract import RULES, AuditReport, Verdict
from dpaudit.report import Form, changes, render, to_markdown, to_sarif


def log(reports: Any, **words: Any) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(to_sarif(reports, **words))
    return loaded


def test_required_structure_of_sarif(samples: tuple[AuditReport, ...]) -> None:
    """The properties that the standard requires of each object that is written (sections 3.13 to 3.58)."""
    document = log(samples, docs_url="https://example.org/docs/")
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = document["runs"]
    driver = run["tool"]["driver"]
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids[:-1] == sorted(RULES)
    assert len(set(ids)) == len(ids)
    for rule in driver["rules"][:-1]:
        assert rule["helpUri"] == f"https://example.org/docs/rules/{rule['id']}.md"
        assert rule["help"]["markdown"].startswith(f"# {rule['id']}")
        assert rule["shortDescription"]["text"]
    assert len(run["results"]) >= sum(len(report.findings) for report in samples) > 0
    for result in run["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["message"]["text"]
        (location,) = result["locations"]
        place = location["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        assert " " not in place["artifactLocation"]["uri"]
        assert set(result["partialFingerprints"]) == {"dpaudit/v1"}
    assert run["invocations"][0]["executionSuccessful"] is True
    marks = [result["partialFingerprints"]["dpaudit/v1"] for result in run["results"]]
    assert len(set(marks)) == len(marks)


def test_the_log_is_valid_under_the_schema_of_the_standard(samples: tuple[AuditReport, ...]) -> None:
    """The types of ``fluidattacks-core-sarif`` are generated from the OASIS schema, and refuse what it does not know."""
    for reports in (samples, samples[:1], ()):
        for words in ({}, {"docs_url": "https://example.org/docs"}):
            SarifLog.model_validate(log(reports, **words))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), "2.0.0"),
        (("runs", 0, "tool"), {}),
        (("runs", 0, "results", 0), {}),
        (("runs", 0, "results", 0, "level"), "fatal"),
        (("runs", 0, "results", 0, "colour"), "red"),
        (("runs", 0, "results", 0, "locations", 0, "physicalLocation", "region", "startLine"), 0),
        (("runs", 0, "invocations", 0), {"exitCode": 0}),
    ],
)
def test_a_log_that_breaks_the_schema_is_refused(
    samples: tuple[AuditReport, ...], path: tuple[Any, ...], value: Any
) -> None:
    document = copy.deepcopy(log(samples))
    part: Any = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    with pytest.raises(ValidationError):
        SarifLog.model_validate(document)


@pytest.mark.skipif(
    "DPAUDIT_SARIF_SCHEMA" not in os.environ, reason="no copy of the OASIS schema (DPAUDIT_SARIF_SCHEMA)"
)
def test_against_the_official_schema(samples: tuple[AuditReport, ...]) -> None:
    schema = json.loads(Path(os.environ["DPAUDIT_SARIF_SCHEMA"]).read_text(encoding="utf-8"))
    validator = Draft4Validator(schema, format_checker=Draft4Validator.FORMAT_CHECKER)
    for reports in (samples, samples[:1], ()):
        assert list(validator.iter_errors(log(reports, docs_url="https://example.org/docs"))) == []
    broken = log(samples)
    broken["runs"][0]["results"][0] = {}
    assert list(validator.iter_errors(broken)) != []


def test_an_audit_that_proved_nothing_is_never_an_empty_log(accepted_report: AuditReport) -> None:
    assert log([accepted_report])["runs"][0]["results"] == []
    silent = dataclasses.replace(accepted_report, verdict=Verdict.INCONCLUSIVE, reasons=("nothing ran",))
    (result,) = log([silent])["runs"][0]["results"]
    assert (result["ruleId"], result["level"]) == ("dpaudit-verdict", "warning")
    assert "not a pass" in result["message"]["text"]


def test_fingerprints_survive_moved_lines_and_new_numbers(rejected_report: AuditReport) -> None:
    moved = dataclasses.replace(
        rejected_report,
        findings=tuple(
            dataclasses.replace(f, line=(f.line or 0) + 7, message="other") for f in rejected_report.findings
        ),
    )
    first, second = (log([r])["runs"][0]["results"] for r in (rejected_report, moved))
    assert [r["partialFingerprints"] for r in first] == [r["partialFingerprints"] for r in second]


def test_without_an_address_there_is_no_invented_one(samples: tuple[AuditReport, ...]) -> None:
    assert "helpUri" not in to_sarif(samples)


def test_markdown_says_what_the_report_says(samples: tuple[AuditReport, ...]) -> None:
    page = to_markdown(samples)
    for report in samples:
        assert f": {report.verdict}\n" in page
        for finding in report.findings:
            assert f"**{finding.rule} " in page
    assert page.count("\n| ") == len(samples) + 1


def test_a_hostile_name_stays_text_in_markdown(rejected_report: AuditReport) -> None:
    hostile = dataclasses.replace(
        rejected_report, mechanism="a|b](http://x) <img src=x>\n# ACCEPTED.py", reasons=("`x` **ok** [y](z)\n| a |",)
    )
    page = to_markdown([hostile])
    assert re.search(r"(?<!\\)<img", page) is None
    assert re.search(r"(?<!\\)\]\(http", page) is None
    assert "\n# ACCEPTED" not in page
    assert "\n| a |" not in page


@pytest.mark.parametrize("form", list(Form))
def test_every_form_is_the_same_twice_and_ends_with_a_line(form: Form, accepted_report: AuditReport) -> None:
    first, second = render([accepted_report], form), render([accepted_report], form)
    assert first == second
    assert first.endswith("\n")


def test_changes_name_verdict_and_cause(accepted_report: AuditReport, rejected_report: AuditReport) -> None:
    worse = dataclasses.replace(
        rejected_report,
        mechanism=accepted_report.mechanism,
        class_name=accepted_report.class_name,
        config=accepted_report.config,
        source_sha256="0" * 64,
    )
    (change,) = changes([accepted_report], [worse])
    assert change.verdicts == "ACCEPTED -> REJECTED"
    assert change.why[0] == "the mechanism's source changed"
    assert any(why.startswith(f"new finding {worse.findings[0].rule}") for why in change.why)
    (same,) = changes([worse], [worse])
    assert (same.verdict_changed, same.why) == (False, ())
    gone, new = changes([worse], [rejected_report])
    assert {gone.verdicts, new.verdicts} == {"not audited -> REJECTED", "REJECTED -> not audited"}


def test_a_notebook_frame_holds_the_page_and_no_live_markup(accepted_report: AuditReport) -> None:
    frame = accepted_report._repr_html_()
    assert frame.startswith("<iframe ")
    assert "sandbox" in frame
    assert frame.count("<") == 2
    assert "ACCEPTED" in repr(accepted_report)
