"""Options of ``dpaudit attack``."""

import argparse

from dpaudit.contract import Calibration, NonFinite, Relation, Rows, Sampler

from .common import Commands, add_manners, command, runs
from .numbers import not_negative, positive_number, whole

MODES = ("step", "run", "model")
"""Where an attack listens. The same words as the keys of ``dpaudit.commands.attack.PLAYERS``."""


def add_attack(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit attack``."""
    attack = command(
        commands,
        "attack",
        "attack a mechanism's claim: a lower bound on epsilon, with what it could at best have shown",
        "dpaudit attack my_mechanism.py --preset mnist --mode run --seconds 120",
    )
    attack.add_argument("path", metavar="PATH", help="file.py or file.py::ClassName")
    attack.add_argument("--preset", default=None, help="settings and budget of the claim (default: digits)")
    attack.add_argument(
        "--mode",
        default="step",
        metavar="MODE",
        help=f"{', '.join(MODES)} (default: step); step,run plays both and divides the level between them",
    )
    attack.add_argument(
        "--seconds", type=positive_number, default=60.0, metavar="S", help="about how long to play (default: 60)"
    )
    attack.add_argument("--seed", type=whole, default=0, help="of every trial, coin and pilot (default: 0)")
    add_claim(attack)
    attack.add_argument(
        "--drawn",
        choices=list(Sampler),
        help="how batches are really drawn, where the claim is accounted for --sampler (mode run only)",
    )
    attack.add_argument("--format", choices=["text", "json"], default="text")
    add_manners(attack)
    attack.set_defaults(run=runs("attack", "run"))


def add_claim(parser: argparse.ArgumentParser) -> None:
    """What the claim is, where it differs from the preset's."""
    parser.add_argument(
        "--noise-multiplier", type=not_negative, metavar="X", help="what the constructor gets (default: calibrated)"
    )
    parser.add_argument("--calibration", choices=list(Calibration), help="the accountant that the claim rests on")
    parser.add_argument("--relation", choices=list(Relation), help="neighbouring relation")
    parser.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    parser.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    parser.add_argument("--nonfinite", choices=list(NonFinite), help="who handles rows with a NaN or an Inf")
