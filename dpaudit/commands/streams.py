"""How a command writes to its streams."""

import argparse
import os
import sys


def coloured(arguments: argparse.Namespace) -> bool:
    """Colour on a terminal only, and never with ``--no-colour`` or a ``NO_COLOR`` that is set (no-color.org)."""
    return sys.stdout.isatty() and not arguments.no_colour and not os.environ.get("NO_COLOR")
