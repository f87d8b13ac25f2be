"""``dpaudit report``: render reports again, from report.json and attack.json files, run directories and results of the corpus."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpaudit.contract import AttackReport, AuditReport, ExitCode, UsageError
from dpaudit.report import (
    Form,
    Specimen,
    catch_matrix,
    matrix_text,
    page_names,
    read_specimens,
    render,
    render_attacks,
    write_attack,
    write_reports,
)

from .attack_records import FILE as ATTACK_FILE
from .attack_records import read_attack_record
from .records import parse_record, read_text
from .streams import coloured


@dataclass(slots=True)
class _Found:
    """What the arguments name."""

    reports: list[AuditReport] = field(default_factory=list)
    attacks: list[AttackReport] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    specimens: list[Specimen] = field(default_factory=list)


def run(arguments: argparse.Namespace) -> ExitCode:
    """Render ``report.json`` and ``attack.json`` files and catch matrices; print a line for each run directory."""
    found = _Found()
    for given in arguments.paths:
        _take(given, found)
    matrix = catch_matrix(found.specimens) if found.specimens else None
    form = Form(arguments.format)
    if arguments.out and (found.reports or matrix):
        written = write_reports(found.reports, Path(arguments.out), docs_url=arguments.docs_url, matrix=matrix)
        print(f"reports written to {arguments.out} ({len(written)} files); start at index.html", file=sys.stderr)
    if found.attacks:
        _render_attacks(found.attacks, form, arguments, alone=not found.reports)
    if found.reports and (form is not Form.HTML or not arguments.out):
        sys.stdout.write(render(found.reports, form, colour=coloured(arguments), docs_url=arguments.docs_url))
    if matrix is not None and form is Form.TEXT:
        sys.stdout.write(matrix_text(matrix))
    for line in found.runs:
        print(line)
    return ExitCode.ALL_ACCEPTED


def _take(given: str, found: _Found) -> None:
    """Read what one argument names: a file, or what a folder holds."""
    path = Path(given)
    record = path / "report.json" if path.is_dir() else path
    attack = path / ATTACK_FILE if path.is_dir() else path
    if attack.name == ATTACK_FILE and attack.exists():
        found.attacks.append(read_attack_record(str(attack)))
        if not (path / "report.json").exists():
            return
    if (path / "run.json").exists():
        found.runs.append(_run_line(path))
    elif record.is_file():
        text = read_text(record, "report")
        if text.lstrip().startswith("["):
            found.specimens.extend(read_specimens(text, str(record)))
        else:
            found.reports.extend(parse_record(text, record))
    elif path.is_dir() and (files := sorted(path.glob("*.json"))):
        found.specimens.extend(_specimens(files))
    else:
        raise UsageError(
            "report: expected a report.json, an attack.json, a run directory or a catch matrix of the corpus, "
            f"got {given!r}, which is none of them"
        )


def _specimens(files: Iterable[Path]) -> Iterable[Specimen]:
    return (specimen for file in files for specimen in read_specimens(read_text(file, "report"), str(file)))


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


def _run_line(path: Path) -> str:
    import harness

    record = harness.read_run(path)
    accuracy = "not finished" if record.accuracy is None else f"{record.accuracy:.2f} % test accuracy (final model)"
    return (
        f"{path}: {record.mechanism}::{record.class_name}, {record.dataset}, seed {record.seed}, "
        f"{len(record.ledger)} of {record.config.total_steps} steps, {accuracy}"
        + (f", {record.canaries} canaries" if record.canaries else "")
    )
