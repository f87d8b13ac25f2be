"""``dpaudit diff``: what changed in verdicts from one report to another, and why."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dpaudit.contract import AuditReport, ExitCode, UsageError
from dpaudit.report import Change, changes, from_json, visible


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print every mechanism whose verdict, or what stands behind it, changed.

    Exit code 0 where every verdict stayed, 1 where one changed: the direction is for the reader to judge.
    """
    found = changes(_read(arguments.old), _read(arguments.new))
    if arguments.format == "json":
        sys.stdout.write(json.dumps([_plain(change) for change in found], indent=2) + "\n")
    elif arguments.format == "markdown":
        sys.stdout.write(_lines(found, bold="**", bullet="- "))
    else:
        sys.stdout.write(_lines(found, bold="", bullet="  - "))
    return ExitCode.REJECTED if any(change.verdict_changed for change in found) else ExitCode.ALL_ACCEPTED


def _read(given: str) -> tuple[AuditReport, ...]:
    path = Path(given)
    record = path / "report.json" if path.is_dir() else path
    try:
        return from_json(record.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"diff: cannot read {record}: {error}; give a report.json or the folder that holds it"
        ) from None


def _lines(found: Sequence[Change], *, bold: str, bullet: str) -> str:
    lines = []
    for change in found:
        if change.verdict_changed or change.why:
            lines.append(f"{bold}{visible(change.name, lines=False)}: {change.verdicts}{bold}")
            lines += ["", ""][: bool(bold)]
            lines += [f"{bullet}{visible(' '.join(why.split()))}" for why in change.why]
            lines += ["", ""][: bool(bold)]
    same = sum(not change.verdict_changed for change in found)
    lines.append(f"{len(found)} audits compared: {len(found) - same} verdicts changed, {same} stayed.")
    return "\n".join(lines) + "\n"


def _plain(change: Change) -> dict[str, object]:
    return {
        "mechanism": change.name,
        "old": None if change.old is None else change.old.verdict.value,
        "new": None if change.new is None else change.new.verdict.value,
        "verdict_changed": change.verdict_changed,
        "why": list(change.why),
    }
