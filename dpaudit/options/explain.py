"""Options of ``dpaudit explain``."""

import argparse

from dpaudit.contract import Relation, Rows, Sampler

from .common import Commands, command, runs


def add_explain(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit explain``."""
    explain = command(
        commands,
        "explain",
        "show a mechanism's data flow: what is private, what is noise, where it is released",
        "dpaudit explain my_mechanism.py --preset mnist",
    )
    explain.add_argument("path", metavar="PATH", help="file.py or file.py::ClassName")
    explain.add_argument("--line", type=int, default=None, metavar="N", help="only what is known of this line")
    explain.add_argument("--preset", default=None, help="settings of the claim (default: digits)")
    explain.add_argument("--relation", choices=list(Relation), help="neighbouring relation")
    explain.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    explain.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    explain.set_defaults(run=runs("explain", "run"))
