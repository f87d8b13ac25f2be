"""Options of ``dpaudit calibrate``."""

import argparse

from dpaudit.contract import Rows

from .common import Commands, add_event, add_manners, command, runs
from .numbers import positive, positive_number


def add_calibrate(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit calibrate``."""
    calibrate = command(
        commands,
        "calibrate",
        "noise multiplier that meets a target epsilon, rounded up: for a constant sigma, or for a mechanism's own schedule",
        "dpaudit calibrate --epsilon 3 --delta 1e-5 --q 0.0042667 --steps 1170\n"
        "         dpaudit calibrate my_mechanism.py --preset mnist",
    )
    calibrate.add_argument("path", nargs="?", metavar="PATH", help="a mechanism: its whole schedule is read and scaled")
    calibrate.add_argument(
        "--preset", default=None, help="with PATH: settings and budget of the claim (default: digits)"
    )
    calibrate.add_argument("--rows", choices=list(Rows), help="with PATH: rows that the mechanism sees")
    calibrate.add_argument("--epsilon", type=positive_number, help="target (with PATH default: the preset's)")
    calibrate.add_argument("--steps", type=positive, help="without PATH: number of steps")
    calibrate.add_argument(
        "--time-limit", type=positive_number, metavar="S", help="with PATH: seconds for one reading of the mechanism"
    )
    add_event(calibrate, required=False)
    add_manners(calibrate)
    calibrate.set_defaults(run=runs("calibrate", "run"))
