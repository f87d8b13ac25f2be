"""``dpaudit rerun``: one finding of a report, shown again with the numbers of then and now."""

import argparse
import json
import sys
from collections.abc import Sequence

from dpaudit.contract import AuditReport, ExitCode, Finding, PlainData, UsageError
from dpaudit.gate import Reproduction, reproduce
from dpaudit.probe import MechanismSource, SourceError, load_source

from .records import read_record


def run(arguments: argparse.Namespace) -> ExitCode:
    """Run a finding again. Code 1: it shows again; 0: it does not; 4: it could not be decided; 3: the audit broke."""
    reports = read_record(arguments.report, "rerun")
    report, finding = _chosen(reports, arguments)
    source = _source(report, changed=arguments.changed)
    result = reproduce(report, finding, source)
    changed = source.sha256 != report.source_sha256
    if arguments.format == "json":
        sys.stdout.write(_as_json(report, finding, result, changed=changed))
    else:
        _print(report, finding, result, changed=changed)
    if result.broken:
        return ExitCode.BROKEN
    if result.reproduced is None:
        return ExitCode.INCONCLUSIVE
    return ExitCode.REJECTED if result.reproduced else ExitCode.ALL_ACCEPTED


def _chosen(reports: Sequence[AuditReport], arguments: argparse.Namespace) -> tuple[AuditReport, Finding]:
    """The audit and the finding that the command line names, and no other."""
    name = arguments.mechanism
    named = [report for report in reports if name is None or report.mechanism == name]
    if not named:
        known = ", ".join(report.mechanism for report in reports) or "none"
        raise UsageError(f"rerun: the report holds no audit of {name!r}; it holds: {known}")
    matching = [(report, finding) for report in named for finding in _matching(report, arguments.finding)]
    if not matching:
        listed = "; ".join(f"{report.mechanism}: {_listed(report)}" for report in named)
        raise UsageError(f"rerun: no finding {arguments.finding!r}; the report holds {listed}")
    audits = dict.fromkeys(report.mechanism for report, _ in matching)
    if len(audits) > 1:
        raise UsageError(
            f"rerun: {arguments.finding!r} stands for findings of {len(audits)} mechanisms; add --mechanism with one of: "
            f"{', '.join(audits)}"
        )
    if len(matching) > 1:
        report = matching[0][0]
        raise UsageError(
            f"rerun: {arguments.finding!r} stands for {len(matching)} findings; give a number instead: {_listed(report)}"
        )
    return matching[0]


def _matching(report: AuditReport, wanted: str) -> list[Finding]:
    if wanted.isdecimal():
        return [finding for number, finding in enumerate(report.findings, 1) if number == int(wanted)]
    return [finding for finding in report.findings if finding.rule == wanted.upper()]


def _listed(report: AuditReport) -> str:
    return ", ".join(f"{number} {finding.rule}" for number, finding in enumerate(report.findings, 1)) or "no finding"


def _source(report: AuditReport, *, changed: bool) -> MechanismSource:
    try:
        source = load_source(report.mechanism)
    except SourceError as error:
        raise UsageError(f"rerun: {error}; the report is about a file that could be read") from None
    except UsageError as error:
        raise UsageError(f"rerun: {error}; run from the folder in which the audit ran") from None
    if source.sha256 != report.source_sha256 and not changed:
        raise UsageError(
            f"rerun: {report.mechanism} has changed since the report (sha256 {source.sha256[:12]}, in the report "
            f"{report.source_sha256[:12] or 'none'}); audit it again, or add --changed to try the finding on the present file"
        )
    return source


def _print(report: AuditReport, finding: Finding, result: Reproduction, *, changed: bool) -> None:
    where = report.mechanism if finding.line is None else f"{report.mechanism}:{finding.line}"
    print(f"{finding.rule} {finding.severity}, {where}")
    print(f"  {finding.message}")
    if changed:
        print("  the source has changed since the report: what follows is about the present file")
    print(f"  run: {result.how}")
    for name in dict.fromkeys((*result.before, *result.after)):
        print(f"  {name}: {_shown(result.before, name)} in the report, {_shown(result.after, name)} now")
    if result.said:
        print(f"  {result.said}")
    words = {True: "reproduced", False: "not reproduced", None: "not decided"}
    print(words[result.reproduced])


def _shown(values: object, name: str) -> str:
    assert isinstance(values, dict)
    value: PlainData = values.get(name)
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _as_json(report: AuditReport, finding: Finding, result: Reproduction, *, changed: bool) -> str:
    record = {
        "mechanism": report.mechanism,
        "rule": finding.rule,
        "line": finding.line,
        "source_changed": changed,
        "reproduced": result.reproduced,
        "how": result.how,
        "before": dict(result.before),
        "after": dict(result.after),
        "said": result.said,
    }
    return json.dumps(record, indent=1) + "\n"
