"""Options of ``dpaudit model``."""

import argparse

from .common import Commands, command, runs


def add_model(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit model``."""
    model = command(
        commands,
        "model",
        "does one example influence another in a network? batch norm, mixed rows, shared parameters, wrong gradients",
        "dpaudit model my_network.py:build --shape 1,28,28",
    )
    model.add_argument(
        "path", metavar="FILE.py:FACTORY", help="a function without arguments that returns a torch module"
    )
    model.add_argument("--shape", required=True, metavar="N,N,...", help="shape of one example, e.g. 1,28,28")
    model.set_defaults(run=runs("model", "run"))
