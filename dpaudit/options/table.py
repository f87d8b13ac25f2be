"""Options of ``dpaudit table``."""

import argparse

from .common import Commands, command, runs


def add_table(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit table``."""
    table = command(
        commands,
        "table",
        "score the public benchmark's table, or the paper's, from run directories and reports",
        "dpaudit table benchmark runs/* reports/local --out reports/benchmark.md",
    )
    table.add_argument("which", choices=["benchmark", "paper"], help="which published table stands beside")
    table.add_argument(
        "paths",
        nargs="+",
        metavar="RUN_OR_REPORT",
        help="run directories of dpaudit train, and report.json files of dpaudit gate for measured epsilons",
    )
    table.add_argument("--out", metavar="FILE", help="write Markdown there (default: print it)")
    table.set_defaults(run=runs("table", "run"))
