"""``dpaudit attack``: play against one mechanism's claim, print what was shown and what could have been."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module

from dpaudit.contract import ExitCode, Finding, Outcome, RunConfig, UsageError, plain_number
from dpaudit.empirical import EmpiricalResult, ModePlan
from dpaudit.probe import SourceError

from .attack_command import command_of
from .bound import as_plain, table
from .preset import configured
from .progress import Bar, Progress

Play = Callable[[argparse.Namespace, RunConfig, Bar], EmpiricalResult]
"""What the module of a mode has as ``play``: attack ``arguments.path`` under the claim, report progress to the bar."""

PLAYERS: Mapping[str, str] = {
    "step": "attack_mechanism",
    "run": "attack_mechanism",
    "model": "attack_model",
    "train": "attack_training",
    "shadow": "attack_shadow",
    "repeat": "attack_repeat",
}
"""Mode to the module of ``dpaudit.commands`` that plays it."""

TRAINING_MODES = frozenset({"train", "shadow", "repeat"})
"""Modes that train real models with canaries."""


def run(arguments: argparse.Namespace) -> ExitCode:
    """Attack, print, and end with 1 if the claim was refuted, 0 if an able attack found nothing, 4 otherwise.

    Exit code 0 accepts nothing: an attack proves no upper bound.
    """
    play = _player(arguments.mode)
    if arguments.drawn is not None and arguments.mode != "run":
        raise UsageError(f"--drawn: only --mode run sees how batches are drawn, got --mode {arguments.mode}")
    _require_images(arguments.mode, arguments.preset)
    config = configured(arguments)
    with Progress(quiet=arguments.quiet) as progress:
        bar = progress.bar(arguments.path)
        try:
            result = play(arguments, config, bar)
        except SourceError as error:
            print(f"{error.finding.rule} {error.finding.file}: {error.finding.message}", file=sys.stderr)
            return ExitCode.INCONCLUSIVE
        finally:
            bar.end()
    if arguments.format == "json":
        json.dump(record(result, config, command_of(arguments)), sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        print(text(result, config, command_of(arguments)))
    return exit_code(result.outcome)


def exit_code(outcome: Outcome) -> ExitCode:
    """Fail-closed: only an attack that could have refuted and did not ends with 0."""
    match outcome:
        case Outcome.PASSED:
            return ExitCode.ALL_ACCEPTED
        case Outcome.VIOLATED:
            return ExitCode.REJECTED
        case Outcome.ERRORED:
            return ExitCode.BROKEN
        case Outcome.INCONCLUSIVE | Outcome.NOT_APPLICABLE:
            return ExitCode.INCONCLUSIVE


def record(result: EmpiricalResult, config: RunConfig, command: str) -> dict[str, object]:
    """The result as JSON."""
    return {
        "outcome": str(result.outcome),
        "summary": result.summary,
        "target": {"epsilon": config.target_epsilon, "delta": config.target_delta, "cell": str(config.cell)},
        "epsilon_lower": None if result.epsilon_lower is None else plain_number(result.epsilon_lower),
        "method": result.method,
        "ceiling": plain_number(result.ceiling),
        "bounds": [as_plain(bound) for bound in result.bounds],
        "plan": [plan_row(mode) for mode in result.plan.modes],
        "longer": list(result.longer),
        "findings": [_finding(finding) for finding in result.findings],
        "notes": list(result.notes),
        "seconds": result.seconds,
        "command": command,
    }


def plan_row(mode: ModePlan) -> dict[str, object]:
    """One mode of a plan as JSON."""
    return {
        "mode": mode.mode,
        "gate_level": mode.gate_level,
        "print_level": mode.print_level,
        "needed": mode.needed,
        "calls_per_trial": mode.calls,
        "expected_seconds": plain_number(mode.seconds),
    }


def text(result: EmpiricalResult, config: RunConfig, command: str) -> str:
    """The result for a person."""
    lines = [f"{result.outcome}: {result.summary}", f"the question: {config.cell}"]
    if result.bounds:
        lines += ["", table(result.bounds)]
    lines += [f"{finding.rule} {finding.severity}: {finding.message}" for finding in result.findings]
    lines += [f"a longer attack: {line}" for line in result.longer]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join([*lines, f"{result.seconds:.0f} s; again: {command}"])


def _finding(finding: Finding) -> dict[str, object]:
    return {
        "rule": finding.rule,
        "severity": str(finding.severity),
        "strength": str(finding.strength),
        "message": finding.message,
        "file": finding.file,
        "line": finding.line,
        "evidence": dict(finding.evidence),
    }


def _require_images(mode: str, preset: str) -> None:
    """Trainings of an attack put canaries among images; a preset of features has none.

    Raises:
        UsageError: a mode that trains, on features.
    """
    import harness

    trains = [name for name in mode.split(",") if name in TRAINING_MODES]
    if trains and harness.preset(preset).features is not None:
        raise UsageError(
            f"--mode {trains[0]}: canaries are images, and {preset!r} trains on features of images behind a private mean, whose "
            "release no canary's score accounts for; --mode step and --mode run play its mechanism at its batch, steps and sigma"
        )


def _player(mode: str) -> Play:
    """The module that plays all of ``mode``, names with commas in between."""
    names = mode.split(",")
    for name in names:
        if name not in PLAYERS:
            raise UsageError(f"--mode: expected one of {', '.join(PLAYERS)}, got {name!r}")
    modules = {PLAYERS[name] for name in names}
    if len(modules) > 1 or len(set(names)) != len(names):
        raise UsageError(f"--mode {mode}: expected one mode, or step,run: other modes are played by themselves")
    play: Play = import_module(f"dpaudit.commands.{modules.pop()}").play
    return play
