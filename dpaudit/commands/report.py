"""``dpaudit report``: render reports again, from report.json files or run directories."""

import argparse
import sys
from pathlib import Path

from dpaudit.contract import AuditReport, ExitCode, UsageError
from dpaudit.report import Form, from_json, render, write_reports

from .streams import coloured


def run(arguments: argparse.Namespace) -> ExitCode:
    """Render ``report.json`` files as pages; print a line for each run directory."""
    reports: list[AuditReport] = []
    lines: list[str] = []
    for given in arguments.paths:
        path = Path(given)
        record = path / "report.json" if path.is_dir() else path
        if record.name == "report.json" and record.exists():
            reports.extend(from_json(_read(record)))
        elif (path / "run.json").exists():
            lines.append(_run_line(path))
        elif record.is_file():
            reports.extend(from_json(_read(record)))
        else:
            raise UsageError(f"report: expected a report.json or a run directory, got {given!r}, which has neither")
    if reports and arguments.out:
        written = write_reports(reports, Path(arguments.out), docs_url=arguments.docs_url)
        print(f"reports written to {arguments.out} ({len(written)} files); start at index.html", file=sys.stderr)
    form = Form(arguments.format)
    if reports and (form is not Form.HTML or not arguments.out):
        sys.stdout.write(render(reports, form, colour=coloured(arguments), docs_url=arguments.docs_url))
    for line in lines:
        print(line)
    return ExitCode.ALL_ACCEPTED


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"report: cannot read {path}: {error}") from None


def _run_line(path: Path) -> str:
    import harness

    record = harness.read_run(path)
    accuracy = "not finished" if record.accuracy is None else f"{record.accuracy:.2f} % test accuracy (final model)"
    return (
        f"{path}: {record.mechanism}::{record.class_name}, {record.dataset}, seed {record.seed}, "
        f"{len(record.ledger)} of {record.config.total_steps} steps, {accuracy}"
        + (f", {record.canaries} canaries" if record.canaries else "")
    )
