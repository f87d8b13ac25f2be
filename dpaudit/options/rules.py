"""Options of ``dpaudit rules``."""

import argparse

from .common import Commands, command, runs


def add_rules(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit rules``."""
    rules = command(
        commands,
        "rules",
        "list the rules, or show the page of one",
        "dpaudit rules",
        "dpaudit rules DPA203",
    )
    rules.add_argument("rules", nargs="*", metavar="RULE", help="ids, as DPA203; a prefix, as DPA2, names several")
    rules.add_argument("--format", choices=["text", "json"], default="text")
    rules.set_defaults(run=runs("rules", "run"))
