"""Options of ``dpaudit attack``."""

import argparse

from dpaudit.contract import Calibration, NonFinite, Relation, Rows, Sampler

from .common import Commands, add_manners, add_places, command, runs
from .numbers import not_negative, positive, positive_number, whole

MODES = ("step", "run", "model", "train", "shadow", "repeat")
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
    add_trainings(attack)
    add_places(attack)
    add_manners(attack)
    attack.set_defaults(run=runs("attack", "run"))


def add_trainings(parser: argparse.ArgumentParser) -> None:
    """What the modes that train insert, how often they train, and where the runs are kept."""
    group = parser.add_argument_group("modes train, shadow and repeat (they take as long as the training does)")
    add_canaries(group)
    group.add_argument("--models", type=positive, metavar="K", help="shadow: models to train (default: 48)")
    group.add_argument(
        "--trainings", type=positive, metavar="R", help="repeat: how many, half of them with the sample (default: 384)"
    )
    group.add_argument(
        "--sample",
        choices=["mislabelled", "blank", "adversarial", "natural"],
        help="repeat: the worst-case sample (default: mislabelled)",
    )
    group.add_argument(
        "--run-dir", metavar="DIR", help="keep the runs here, and take what is finished there (default: thrown away)"
    )
    group.add_argument("--no-plain", action="store_true", help="train: no second training without canaries")


def add_canaries(parser: "argparse.ArgumentParser | argparse._ArgumentGroup") -> None:
    """Which canaries take the places of training examples."""
    parser.add_argument("--canaries", type=positive, metavar="M", help="canaries, each in by a fair coin")
    parser.add_argument(
        "--canary-kinds",
        metavar="A,B",
        help="mislabelled, natural, blank, adversarial, dirac; dealt out in turn (default: mislabelled,dirac)",
    )
    parser.add_argument("--per-coordinate", type=positive, metavar="K", help="Dirac canaries on one coordinate")


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
