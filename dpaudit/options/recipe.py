"""Options on how a run trains and computes; they change accuracy and speed, never epsilon."""

import argparse

from dpaudit.contract import Form

from .numbers import not_negative, positive, positive_number

OPTIMISERS = ("sgd", "rmsprop", "adagrad", "adam", "dp_adam")
SCHEDULES = ("constant", "cosine", "cosine_steps")


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """What happens to released gradients and to images; every default is the preset's."""
    group = parser.add_argument_group("recipe (default: the preset's)")
    group.add_argument("--optimiser", choices=OPTIMISERS, help="on released gradients")
    group.add_argument("--learning-rate", type=positive_number, metavar="X")
    group.add_argument("--momentum", type=not_negative, metavar="X", help="of sgd and rmsprop")
    group.add_argument("--nesterov", action="store_true", default=None)
    group.add_argument("--weight-decay", type=not_negative, metavar="X")
    group.add_argument("--schedule", choices=SCHEDULES, help="of the learning rate")
    group.add_argument("--final-rate", type=not_negative, metavar="X", help="where a cosine ends")
    group.add_argument("--warmup-steps", type=positive, metavar="N", help="linear rise of the rate")
    group.add_argument(
        "--average-decay", type=not_negative, metavar="X", help="weight average a logical step (0: none)"
    )
    group.add_argument("--augment", metavar="A,B", help="flip, crop, augmix; 'none' for none")
    group.add_argument("--views", type=positive, metavar="K", help="augmented views a row, averaged before the clip")
    group.add_argument("--dropout", type=not_negative, metavar="P")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """How gradients are computed."""
    group = parser.add_argument_group("engine")
    group.add_argument("--form", choices=["auto", *Form], help="form of the interface (default: auto)")
    group.add_argument("--physical-batch", type=positive, metavar="N", help="images in memory (default: found, once)")
    group.add_argument("--bf16", action="store_true", help="forward and backward in bfloat16")
    group.add_argument("--tf32", action="store_true", help="TF32 in forward and backward passes")
    group.add_argument("--channels-last", action="store_true", help="memory layout of images")
    group.add_argument("--constant-shapes", action="store_true", help="pad and mask chunks, so that no shape changes")
    group.add_argument("--compile", action="store_true", help="torch.compile (with constant shapes)")
    group.add_argument("--cuda-graphs", action="store_true", help="compiled and replayed as CUDA graphs")
