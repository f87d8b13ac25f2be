"""The reports as SARIF 2.1.0, for code scanning services and editors.

Guarantees:
    - every rule stands in ``tool.driver.rules`` in the order of its id, whether it was broken or not, so that ``ruleIndex``
      of a rule changes only with the list of rules;
    - an audit that did not end ACCEPTED leaves at least one result: a log without results never hides an audit in which
      nothing was shown;
    - ``partialFingerprints`` do not depend on line numbers or measured values, so that an alert is followed through edits.

Source: OASIS Standard, Static Analysis Results Interchange Format (SARIF) Version 2.1.0 (27 March 2020).
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import assert_never
from urllib.parse import quote

from dpaudit.contract import RULES, AuditReport, Finding, Severity, Verdict, fold_exit_code
from dpaudit.contract.rule_pages import rule_page

from .json_record import to_json
from .stable_json import JsonData, dump
from .untrusted import shortened, visible
from .wording import BROKEN, NO_REASON, verdict_meaning

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERDICT_RULE = "dpaudit-verdict"
"""Id of the result that an audit leaves which ended without ACCEPTED and without a finding above MINOR."""

_RULE_IDS = (*sorted(RULES), VERDICT_RULE)


def to_sarif(reports: Sequence[AuditReport], *, docs_url: str | None = None) -> str:
    """The reports as the text of one SARIF log with one run; the same bytes for the same reports.

    Args:
        docs_url: absolute address under which ``docs/`` is published; rules get a ``helpUri`` below it. Without it
            a rule carries its page as ``help`` only.

    Raises:
        AuditBrokenError: a report holds a NaN.
    """
    to_json(reports)  # what cannot be the record must not become a log either
    version = next((report.versions["dpaudit"] for report in reports if "dpaudit" in report.versions), None)
    driver: dict[str, JsonData] = {
        "name": "dpaudit",
        **({} if version is None else {"version": version}),
        "rules": [*(_rule(rule, docs_url) for rule in sorted(RULES)), _verdict_rule()],
    }
    run: dict[str, JsonData] = {
        "tool": {"driver": driver},
        "invocations": [_invocation(reports)],
        "results": [result for report in reports for result in _results(report)],
        "columnKind": "unicodeCodePoints",
        "properties": {"verdicts": [_verdict(report) for report in reports]},
    }
    return dump({"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]})


def _rule(rule_id: str, docs_url: str | None) -> JsonData:
    rule = RULES[rule_id]
    page = rule_page(rule_id)
    text = f"{rule.why} {rule.remedy}"
    described: dict[str, JsonData] = {
        "id": rule_id,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": text},
        "help": {"text": text} if page is None else {"text": text, "markdown": page},
    }
    if docs_url:
        described["helpUri"] = f"{docs_url.rstrip('/')}/rules/{rule_id}.md"
    return described


def _verdict_rule() -> JsonData:
    return {
        "id": VERDICT_RULE,
        "shortDescription": {"text": "the audit did not end ACCEPTED"},
        "fullDescription": {
            "text": "Neither a proof nor a witness: this is not a pass. The reasons are in the message."
        },
    }


def _invocation(reports: Sequence[AuditReport]) -> JsonData:
    broken = [report for report in reports if report.broken]
    notes: list[JsonData] = [
        {"level": "error", "message": {"text": f"{visible(report.mechanism, lines=False)}: {BROKEN}"}}
        for report in broken
    ]
    return {
        "executionSuccessful": not broken,
        "exitCode": int(fold_exit_code(reports)),
        "toolExecutionNotifications": notes,
    }


def _verdict(report: AuditReport) -> JsonData:
    return {
        "mechanism": report.mechanism,
        "class": report.class_name,
        "verdict": report.verdict.value,
        "broken": report.broken,
        "cell": str(report.config.cell),
        "targetEpsilon": float(report.epsilon.target),
        "delta": float(report.epsilon.delta),
        "replayed": [report.epsilon.replayed.lower, report.epsilon.replayed.upper],
        "sourceSha256": report.source_sha256,
    }


def _results(report: AuditReport) -> Iterator[JsonData]:
    seen: dict[str, int] = {}
    for finding in report.findings:
        seen[finding.rule] = seen.get(finding.rule, 0) + 1
        yield _result(report, finding, seen[finding.rule])
    silent = all(finding.severity is Severity.MINOR for finding in report.findings)
    if silent and (report.verdict is not Verdict.ACCEPTED or report.broken):
        reasons = " ".join(report.reasons) or NO_REASON
        yield {
            "ruleId": VERDICT_RULE,
            "ruleIndex": _RULE_IDS.index(VERDICT_RULE),
            "level": "warning",
            "message": {"text": visible(shortened(f"{report.verdict}: {verdict_meaning(report)} {reasons}"))},
            "locations": [_location(report.mechanism, None)],
            "partialFingerprints": {"dpaudit/v1": _fingerprint(report, VERDICT_RULE, report.mechanism, 1)},
        }


def _result(report: AuditReport, finding: Finding, count: int) -> JsonData:
    rule = RULES[finding.rule]
    message = f"{rule.title}: {shortened(finding.message)}\n\nWhy: {rule.why}\nRemedy: {rule.remedy}"
    return {
        "ruleId": finding.rule,
        "ruleIndex": _RULE_IDS.index(finding.rule),
        "level": _level(finding),
        "message": {"text": visible(message)},
        "locations": [_location(finding.file or report.mechanism, finding.line)],
        "partialFingerprints": {"dpaudit/v1": _fingerprint(report, finding.rule, finding.file, count)},
        "properties": {
            "severity": finding.severity.value,
            "strength": finding.strength.value,
            "verdict": report.verdict.value,
            "lineKnown": finding.line is not None,
            "rerun": finding.rerun,
        },
    }


def _level(finding: Finding) -> str:
    """A heuristic alone never rejects, so it is never an error."""
    match finding.severity:
        case Severity.CRITICAL:
            return "error" if finding.refutes else "warning"
        case Severity.MAJOR:
            return "warning"
        case Severity.MINOR:
            return "note"
    assert_never(finding.severity)


def _location(file: str, line: int | None) -> JsonData:
    """A finding about a whole file points to its first line: consumers show nothing without one."""
    path = file.partition("::")[0].replace("\\", "/")
    uri = quote(path) if not path.startswith("/") else f"file://{quote(path)}"
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": max(1, line or 1)}}}


def _fingerprint(report: AuditReport, rule: str, file: str, count: int) -> str:
    """The ``count``-th finding of a rule in one mechanism under one run configuration."""
    parts = (rule, file.replace("\\", "/"), report.class_name, report.config.name, str(report.config.cell), str(count))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:32]
