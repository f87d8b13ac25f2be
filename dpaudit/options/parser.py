"""The parser of the whole command line."""

import argparse

from dpaudit import __version__

from . import COMMANDS
from .common import EXIT_CODES


def build_parser() -> argparse.ArgumentParser:
    """A parser with every command."""
    parser = argparse.ArgumentParser(
        prog="dpaudit",
        description="Does a DP-SGD mechanism keep the budget that it claims, and what accuracy does it buy?",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"dpaudit {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser
