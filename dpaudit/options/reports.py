"""Options of the commands that read reports: ``report``, ``diff`` and ``verify``."""

import argparse

from .common import Commands, add_form, command, runs


def add_report(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit report``."""
    report = command(
        commands,
        "report",
        "render report.json and attack.json files again, or describe run directories",
        "dpaudit report reports/local --out pages",
        "dpaudit report reports/local --format markdown > summary.md",
        "dpaudit report attacks/train --format html > attack.html",
    )
    report.add_argument(
        "paths",
        nargs="+",
        metavar="RUN_OR_REPORT",
        help="report.json, attack.json, the folder of one, or a run directory",
    )
    report.add_argument("--out", metavar="DIR", help="where to write all forms, pages among them")
    add_form(report)
    report.add_argument("--no-colour", "--no-color", action="store_true", help="plain text on a terminal too")
    report.set_defaults(run=runs("report", "run"))


def add_verify(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit verify``."""
    verify = command(
        commands,
        "verify",
        "re-check a report's arithmetic from the report alone",
        "dpaudit verify reports/local",
    )
    verify.add_argument("path", metavar="REPORT", help="report.json, or the folder that holds it")
    verify.set_defaults(run=runs("verify", "run"))


def add_diff(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit diff``."""
    diff = command(
        commands,
        "diff",
        "what changed in verdicts, and why, from one report to another",
        "dpaudit diff reports/old reports/new",
    )
    diff.add_argument("old", metavar="OLD", help="report.json, or the folder that holds it")
    diff.add_argument("new", metavar="NEW", help="report.json, or the folder that holds it")
    diff.add_argument("--format", choices=["text", "markdown", "json"], default="text")
    diff.set_defaults(run=runs("diff", "run"))
