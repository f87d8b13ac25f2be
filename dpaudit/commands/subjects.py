"""What ``dpaudit gate`` audits: mechanism files, Opacus set-ups and plain functions, each with its run configuration."""

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from dpaudit.adapters import Subject, function_subject, opacus_subject
from dpaudit.contract import NonFinite, Relation, RunConfig, UsageError

from .preset import configured
from .targets import expand

Word = TypeVar("Word", bound=StrEnum)

_CLAIM = (
    "noise_multiplier",
    "max_grad_norm",
    "epochs",
    "calibration",
    "layers",
    "relation",
    "rows",
    "sampler",
    "nonfinite",
    "form",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One thing to audit.

    Attributes:
        spec: the mechanism file that is loaded, with its class if it is not the usual one.
        subject: what an adapter said of it; ``None`` for a mechanism file of the user's own.
        command: how to run this audit again, without training and output options.
    """

    spec: str
    config: RunConfig
    command: str
    subject: Subject | None = None


def targets_of(arguments: argparse.Namespace, scratch: Path) -> tuple[Target, ...]:
    """Everything that the command line and the configuration name, in that order.

    Raises:
        UsageError: nothing is named, a file is missing, an adapter cannot take what it was given.
    """
    return tuple(_targets(arguments, scratch))


def _targets(arguments: argparse.Namespace, scratch: Path) -> Iterator[Target]:
    if not (arguments.paths or arguments.opacus or arguments.function):
        raise UsageError(
            "gate: nothing to audit; give PATH..., --opacus or --function, or set targets in [tool.dpaudit] of pyproject.toml"
        )
    if arguments.paths or arguments.function:
        config = configured(arguments)
        for spec in expand(arguments.paths):
            yield Target(spec=spec, config=config, command=command_of([spec], arguments))
        for given in arguments.function or ():
            subject = function_subject(given, config, scratch)
            yield _of(subject, command_of(["--function", given], arguments))
    for given in arguments.opacus or ():
        subject = opacus_subject(
            given,
            scratch,
            epsilon=arguments.epsilon,
            delta=arguments.delta,
            epochs=arguments.epochs,
            relation=_word(Relation, "relation", arguments.relation),
            nonfinite=_word(NonFinite, "nonfinite", arguments.nonfinite),
        )
        yield _of(subject, _opacus_command(given, arguments))


def _word(words: type[Word], name: str, value: str | None) -> Word | None:
    """A word of a closed list: the parser checks those of the command line, nothing those of a configuration file."""
    if value is None:
        return None
    try:
        return words(value)
    except ValueError:
        raise UsageError(f"{name}: expected one of {', '.join(words)}, got {value!r}") from None


def _of(subject: Subject, command: str) -> Target:
    return Target(spec=subject.spec, config=subject.config, command=command, subject=subject)


def command_of(words: list[str], arguments: argparse.Namespace) -> str:
    """The command that repeats the audit of one mechanism, without training and output options."""
    words = ["dpaudit", "gate", *words, "--preset", arguments.preset]
    for name in _CLAIM:
        words += _option(arguments, name)
    return shlex.join([*words, "--accuracy", "none"])


def _opacus_command(given: str, arguments: argparse.Namespace) -> str:
    words = ["dpaudit", "gate", "--opacus", given]
    for name in ("epsilon", "delta", "epochs", "layers", "relation", "nonfinite"):
        words += _option(arguments, name)
    return shlex.join(words)


def _option(arguments: argparse.Namespace, name: str) -> list[str]:
    value = getattr(arguments, name, None)
    return [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
