"""Options of the commands that read reports: ``report`` and ``verify``."""

import argparse

from .common import Commands, command, runs


def add_report(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit report``."""
    report = command(
        commands,
        "report",
        "render report.json files again, or describe run directories",
        "dpaudit report reports/local --out pages",
    )
    report.add_argument("paths", nargs="+", metavar="RUN_OR_REPORT")
    report.add_argument("--out", metavar="DIR", help="where to write the pages")
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
