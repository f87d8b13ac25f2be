"""Options of ``dpaudit completion``."""

import argparse

from .common import Commands, command, runs


def add_completion(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Declare ``dpaudit completion``."""
    completion = command(
        commands,
        "completion",
        "print a completion script for a shell",
        'eval "$(dpaudit completion bash)"',
        "dpaudit completion fish > ~/.config/fish/completions/dpaudit.fish",
    )
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    completion.set_defaults(run=runs("completion", "run"))
