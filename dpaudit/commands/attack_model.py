"""Mode ``model`` of ``dpaudit attack``: the probe's noise model is simulated, for planning. It decides nothing."""

import argparse

from dpaudit.contract import RunConfig
from dpaudit.empirical import EmpiricalResult, attack_model
from dpaudit.probe import load_source, measure

from .progress import Bar


def play(arguments: argparse.Namespace, config: RunConfig, bar: Bar) -> EmpiricalResult:
    """Probe the mechanism, then simulate whole runs of what the probe read.

    Raises:
        SourceError: the mechanism cannot be loaded.
    """
    source = load_source(arguments.path)
    bar.begin("probe")
    measurement = measure(source, config, time_limit=120.0 + config.total_steps / 20, progress=bar.advance)
    bar.begin("simulate")
    return attack_model(source.display, config, measurement, seed=arguments.seed)
