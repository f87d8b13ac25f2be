"""Options of ``dpaudit table``."""

import argparse

from .common import Commands, command, runs


def add_table(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit table``."""
    table = command(
        commands,
        "table",
        "score the public benchmark's table, the paper's, or mechanisms in pairs, from run directories and reports",
        "dpaudit table benchmark runs/* reports/local --out reports/benchmark.md",
        "dpaudit table paired runs/* --baseline standard_dpsgd --out reports/paired.md",
    )
    table.add_argument(
        "which",
        choices=["benchmark", "paper", "paired"],
        help="which published table stands beside; or differences to a baseline, seed by seed",
    )
    table.add_argument(
        "paths",
        nargs="+",
        metavar="RUN_OR_REPORT",
        help="run directories of dpaudit train, and report.json files of dpaudit gate for measured epsilons",
    )
    table.add_argument(
        "--baseline",
        metavar="NAME",
        default="standard_dpsgd",
        help="of paired: file name without .py, with ::CLASS unless it is DPMechanism (default: %(default)s)",
    )
    table.add_argument(
        "--out", metavar="FILE", help="write Markdown there (default: print it); paired writes FILE.json beside it"
    )
    table.set_defaults(run=runs("table", "run"))
