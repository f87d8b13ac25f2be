"""Options of ``dpaudit rerun``."""

import argparse

from .common import Commands, command, runs


def add_rerun(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit rerun``."""
    rerun = command(
        commands,
        "rerun",
        "show one finding of a report again: its stored pair, or the narrowest audit that can show it",
        "dpaudit rerun report/report.json DPA201",
    )
    rerun.add_argument("report", metavar="REPORT", help="report.json, or the folder that holds it")
    rerun.add_argument("finding", metavar="FINDING", help="number in the report (from 1), or rule id, e.g. DPA201")
    rerun.add_argument("--mechanism", metavar="NAME", help="which audit, where the report holds several")
    rerun.add_argument("--changed", action="store_true", help="run although the source has changed since the report")
    rerun.add_argument("--format", choices=["text", "json"], default="text", help="what goes to stdout")
    rerun.set_defaults(run=runs("rerun", "run"))
