"""Options of ``dpaudit replay``."""

import argparse

from .common import Commands, add_event, command, runs
from .numbers import not_negative, positive


def add_replay(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit replay``."""
    replay = command(
        commands,
        "replay",
        "epsilon bracket of a noise schedule",
        "dpaudit replay --q 0.0042667 --delta 1e-5 --sigma 0.2385 --steps 1170",
    )
    add_event(replay)
    replay.add_argument("--sigma", type=not_negative, help="constant noise multiplier")
    replay.add_argument("--steps", type=positive, help="number of steps at --sigma")
    replay.add_argument("--schedule", metavar="FILE", help="text file, one sigma a line")
    replay.add_argument("--accountant", choices=["pld", "rdp", "benchmark"], default="pld")
    replay.set_defaults(run=runs("accounts", "run_replay"))
