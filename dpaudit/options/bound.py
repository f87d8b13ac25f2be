"""Options of ``dpaudit bound``."""

import argparse

from dpaudit.contract import Relation

from .common import Commands, command, runs
from .numbers import delta, positive, positive_number, probability, whole


def add_bound(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit bound``."""
    bound = command(
        commands,
        "bound",
        "lower bounds on epsilon from the scores of an attack",
        "dpaudit bound --in with.csv --out without.csv --delta 1e-5",
    )
    bound.add_argument("--scores", metavar="FILE", help="npz or csv with score and member (1 = in) of every canary")
    bound.add_argument("--in", dest="inside", metavar="FILE", help="csv of scores with the canary in")
    bound.add_argument("--out", dest="outside", metavar="FILE", help="csv of scores with the canary out")
    bound.add_argument("--delta", type=delta, required=True)
    bound.add_argument(
        "--design", choices=["independent", "one_run"], help="how the scores arose (default: independent)"
    )
    bound.add_argument("--confidence", type=probability, help="of every printed bound (default: 0.95)")
    bound.add_argument("--method", default="all", metavar="A,B", help="names of methods (default: all)")
    bound.add_argument("--threshold", metavar="T", help="a number fixed in advance, split, multi-split or bonferroni")
    bound.add_argument("--q", type=probability, help="sampling probability of the claimed run")
    bound.add_argument("--sigma", type=positive_number, help="noise multiplier of the claimed run")
    bound.add_argument("--steps", type=positive, help="steps of the claimed run")
    bound.add_argument("--relation", choices=list(Relation), help="of the claimed run (default: add_remove)")
    bound.add_argument(
        "--per-step", action="store_true", help="the scores are of one step given inclusion, not of whole runs"
    )
    bound.add_argument("--seed", type=whole, default=0, help="of random splits and coins (default: 0)")
    bound.add_argument("--format", choices=["text", "json"], default="text")
    bound.set_defaults(run=runs("bound", "run"))
