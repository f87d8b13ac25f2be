"""Options of ``dpaudit plan``."""

import argparse

from .attack import add_claim
from .common import Commands, add_manners, command, runs
from .numbers import positive, positive_number, whole


def add_plan(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit plan``."""
    plan = command(
        commands,
        "plan",
        "what attacks on a claim could show, and what they would cost, before any is played",
        "dpaudit plan --preset mnist --canaries 1000",
    )
    plan.add_argument(
        "path", nargs="?", metavar="PATH", help="a mechanism, whose schedule is probed first (default: the claim alone)"
    )
    plan.add_argument("--preset", default=None, help="settings and budget of the claim (default: digits)")
    plan.add_argument(
        "--canaries", type=positive, default=1000, metavar="M", help="of an audit of one training run (default: 1000)"
    )
    plan.add_argument(
        "--seconds", type=positive_number, default=60.0, metavar="S", help="budget of the attacks (default: 60)"
    )
    plan.add_argument("--seed", type=whole, default=0, help="of the simulations (default: 0)")
    add_claim(plan)
    plan.add_argument("--format", choices=["text", "json"], default="text")
    add_manners(plan)
    plan.set_defaults(run=runs("plan", "run"))
