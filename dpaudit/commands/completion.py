"""``dpaudit completion``: a completion script, made from the options themselves."""

import argparse
import sys

import shtab

from dpaudit.contract import ExitCode
from dpaudit.options.parser import build_parser


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the script for one shell."""
    sys.stdout.write(shtab.complete(build_parser(), shell=arguments.shell) + "\n")
    return ExitCode.ALL_ACCEPTED
