"""Modes ``step`` and ``run`` of ``dpaudit attack``: the candidate itself is executed, in a worker process."""

import argparse

from dpaudit.contract import RunConfig, Sampler
from dpaudit.empirical import EmpiricalResult, attack
from dpaudit.probe import load_source, measure

from .progress import Bar


def play(arguments: argparse.Namespace, config: RunConfig, bar: Bar) -> EmpiricalResult:
    """Probe the mechanism, then attack it.

    Raises:
        SourceError: the mechanism cannot be loaded.
    """
    source = load_source(arguments.path)
    bar.begin("probe")
    measurement = measure(source, config, time_limit=120.0 + config.total_steps / 20, progress=bar.advance)

    def progress(what: str, spent: float, budget: float) -> None:
        bar.say(what)
        bar.advance(round(spent), round(budget))

    return attack(
        source,
        config,
        measurement,
        seed=arguments.seed,
        budget_seconds=arguments.seconds,
        modes=tuple(arguments.mode.split(",")),
        drawn=None if arguments.drawn is None else Sampler(arguments.drawn),
        progress=progress,
    )
