"""``dpaudit report``: render reports again, from report.json and attack.json files or run directories."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dpaudit.contract import AttackReport, AuditReport, ExitCode, UsageError
from dpaudit.report import Form, from_json, page_names, render, render_attacks, write_attack, write_reports

from .attack_records import FILE as ATTACK_FILE
from .attack_records import read_attack_record
from .streams import coloured


def run(arguments: argparse.Namespace) -> ExitCode:
    """Render ``report.json`` and ``attack.json`` files as pages; print a line for each run directory."""
    reports: list[AuditReport] = []
    attacks: list[AttackReport] = []
    lines: list[str] = []
    for given in arguments.paths:
        path = Path(given)
        record = path / "report.json" if path.is_dir() else path
        beside = path / ATTACK_FILE if path.is_dir() else path
        if beside.name == ATTACK_FILE and beside.exists():
            attacks.append(read_attack_record(str(beside)))
            if not (path / "report.json").exists():
                continue
        if record.name == "report.json" and record.exists():
            reports.extend(from_json(_read(record)))
        elif (path / "run.json").exists():
            lines.append(_run_line(path))
        elif record.is_file():
            reports.extend(from_json(_read(record)))
        else:
            raise UsageError(
                f"report: expected a report.json, an attack.json or a run directory, got {given!r}, which has none of them"
            )
    if reports and arguments.out:
        written = write_reports(reports, Path(arguments.out), docs_url=arguments.docs_url)
        print(f"reports written to {arguments.out} ({len(written)} files); start at index.html", file=sys.stderr)
    form = Form(arguments.format)
    if attacks:
        _render_attacks(attacks, form, arguments, alone=not reports)
    if reports and (form is not Form.HTML or not arguments.out):
        sys.stdout.write(render(reports, form, colour=coloured(arguments), docs_url=arguments.docs_url))
    for line in lines:
        print(line)
    return ExitCode.ALL_ACCEPTED


def _render_attacks(attacks: Sequence[AttackReport], form: Form, arguments: argparse.Namespace, *, alone: bool) -> None:
    """Pages into ``--out`` (one attack by itself: there; else each into a folder of its own), the chosen form to stdout."""
    if not alone and form is not Form.TEXT and not (form is Form.HTML and arguments.out):
        raise UsageError(f"report: expected a report or an attack for --format {form}, got both; give one of them")
    if arguments.out:
        names = page_names(f"{attack.mechanism}-{attack.mode}" for attack in attacks)
        for attack, name in zip(attacks, names, strict=True):
            here = Path(arguments.out) if alone and len(attacks) == 1 else Path(arguments.out) / Path(name).stem
            written = write_attack(attack, here)
            print(f"attack written to {here} ({len(written)} files); start at attack.html", file=sys.stderr)
    if form is not Form.HTML or not arguments.out:
        sys.stdout.write(render_attacks(attacks, form))


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
