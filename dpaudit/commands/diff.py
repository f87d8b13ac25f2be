"""``dpaudit diff``: what changed in verdicts from one report to another, and why."""

import argparse
import json
import sys
from collections.abc import Sequence

from dpaudit.contract import ExitCode
from dpaudit.report import Change, changes, visible

from .records import read_record


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print every mechanism whose verdict, or what stands behind it, changed.

    Exit code 0 where every verdict stayed, 1 where one changed: the direction is for the reader to judge.
    """
    found = changes(read_record(arguments.old, "diff"), read_record(arguments.new, "diff"))
    if arguments.format == "json":
        sys.stdout.write(json.dumps([_plain(change) for change in found], indent=2) + "\n")
    elif arguments.format == "markdown":
        sys.stdout.write(_lines(found, bold="**", bullet="- "))
    else:
        sys.stdout.write(_lines(found, bold="", bullet="  - "))
    return ExitCode.REJECTED if any(change.verdict_changed for change in found) else ExitCode.ALL_ACCEPTED


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
