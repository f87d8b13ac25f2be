"""The command that repeats an attack."""

import argparse
import shlex

_EVERYWHERE = ("noise_multiplier", "calibration", "relation", "rows", "sampler", "nonfinite", "drawn")
_TRAININGS = {
    "train": ("canaries", "canary_kinds", "per_coordinate"),
    "shadow": ("canaries", "canary_kinds", "models"),
    "repeat": ("trainings", "sample"),
}


def command_of(arguments: argparse.Namespace) -> str:
    """``dpaudit attack`` with the options that decide what is played; places of files are left out."""
    words = ["dpaudit", "attack", arguments.path, "--preset", arguments.preset, "--mode", arguments.mode]
    if arguments.mode not in _TRAININGS:
        words += ["--seconds", f"{arguments.seconds:g}"]
    words += ["--seed", str(arguments.seed)]
    for name in (*_EVERYWHERE, *_TRAININGS.get(arguments.mode, ())):
        value = getattr(arguments, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)
