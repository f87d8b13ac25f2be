"""Options of ``dpaudit sweep``."""

import argparse

from .common import Commands, add_manners, add_places, command, runs
from .numbers import positive, positive_number
from .recipe import add_engine, add_recipe


def add_sweep(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit sweep``."""
    sweep = command(
        commands,
        "sweep",
        "train a grid of settings and compare them on a validation split held out from the training set",
        "dpaudit sweep my_mechanism.py --preset mnist --grid learning_rate=0.05,0.1 --hold-out 5000 --out sweep",
    )
    sweep.add_argument("path", metavar="PATH", help="file.py or file.py::ClassName")
    sweep.add_argument("--preset", required=True, help="data set, network, settings and budget")
    sweep.add_argument(
        "--grid",
        action="append",
        required=True,
        metavar="NAME=A,B",
        help="values of one setting (learning_rate, max_grad_norm, batch_size, epochs, optimiser, ...); repeatable",
    )
    sweep.add_argument("--hold-out", type=positive, required=True, metavar="N", help="examples kept for validation")
    sweep.add_argument("--runs", type=positive, default=1, metavar="N", help="seeds a setting (default: 1)")
    sweep.add_argument(
        "--selection-epsilon",
        type=positive_number,
        metavar="E",
        help="choose by the exponential mechanism, at this epsilon for the validation part (default: take the best, not private)",
    )
    sweep.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add_recipe(sweep)
    add_engine(sweep)
    add_places(sweep)
    add_manners(sweep)
    sweep.set_defaults(run=runs("sweep", "run"))
