"""Options of ``dpaudit train``."""

import argparse

from dpaudit.contract import Relation, Rows, Sampler

from .common import Commands, add_manners, add_places, command, runs
from .numbers import not_negative, positive, positive_number
from .recipe import add_engine, add_recipe


def add_train(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit train``."""
    train = command(
        commands,
        "train",
        "train a mechanism and leave a run directory with its ledger",
        "dpaudit train my_mechanism.py --preset mnist --seeds 42,123,456 --out runs",
    )
    train.add_argument("path", metavar="PATH", help="file.py or file.py::ClassName")
    train.add_argument("--preset", required=True, help="data set, network, settings and budget")
    train.add_argument("--seeds", default=None, help="comma-separated (default: 42,123,456)")
    train.add_argument(
        "--runs", dest="seed_count", type=positive, metavar="N", help="the first N usual seeds, in place of --seeds"
    )
    train.add_argument("--epochs", type=positive, metavar="N", help="instead of the preset's")
    train.add_argument(
        "--noise-multiplier", type=not_negative, metavar="X", help="what the constructor gets (default: calibrated)"
    )
    train.add_argument("--batch-size", type=positive, metavar="B", help="instead of the preset's; sigma follows")
    train.add_argument("--max-grad-norm", type=positive_number, metavar="C", help="instead of the preset's")
    train.add_argument("--sampler", choices=list(Sampler), help="how batches are drawn")
    train.add_argument("--relation", choices=list(Relation), help="neighbouring relation of the claim")
    train.add_argument("--rows", choices=list(Rows), help="rows that the mechanism sees")
    train.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    train.add_argument("--log", metavar="A,B", help="also write metrics as csv, tensorboard")
    add_recipe(train)
    add_engine(train)
    add_places(train)
    add_manners(train)
    train.set_defaults(run=runs("training", "run"))
