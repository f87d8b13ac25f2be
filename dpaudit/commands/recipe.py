"""From options to a recipe and an engine."""

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from dpaudit.contract import Form, UsageError

if TYPE_CHECKING:
    from harness.recipe import Engine, Recipe

_FIELDS = (
    "optimiser",
    "learning_rate",
    "momentum",
    "nesterov",
    "weight_decay",
    "schedule",
    "final_rate",
    "warmup_steps",
    "average_decay",
    "views",
    "dropout",
)
_SWITCHES = ("bf16", "tf32", "channels_last", "constant_shapes", "compile", "cuda_graphs")


def recipe_of(arguments: argparse.Namespace) -> "Recipe":
    """The preset's recipe with the given options in place of its fields.

    Raises:
        UsageError: no such preset; an unknown word; fields that contradict each other.
    """
    import harness
    from harness.recipe import Augmentation, Optimiser, RateSchedule

    base = harness.preset(arguments.preset).recipe
    changes: dict[str, Any] = {name: value for name in _FIELDS if (value := getattr(arguments, name, None)) is not None}
    if "optimiser" in changes:
        changes["optimiser"] = Optimiser(changes["optimiser"])
    if "schedule" in changes:
        changes["schedule"] = RateSchedule(changes["schedule"])
    if arguments.augment is not None:
        words = [] if arguments.augment == "none" else arguments.augment.split(",")
        try:
            changes["augmentations"] = tuple(Augmentation(word) for word in words)
        except ValueError:
            raise UsageError(
                f"--augment: expected names among {', '.join(Augmentation)} or none, got {arguments.augment!r}"
            ) from None
    return dataclasses.replace(base, **changes)


def engine_of(arguments: argparse.Namespace) -> "Engine":
    """The engine that the options describe."""
    from harness.recipe import Engine

    switches = {name: bool(getattr(arguments, name)) for name in _SWITCHES}
    switches["constant_shapes"] |= switches["compile"]
    return Engine(physical_batch=arguments.physical_batch, **switches)


def form_of(arguments: argparse.Namespace) -> Form | None:
    """The form that was asked for; ``None`` chooses."""
    return None if arguments.form in (None, "auto") else Form(arguments.form)
