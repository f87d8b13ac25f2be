"""Epsilon of the sigmas that the mechanism reported, by the accountant that the claim rests on."""

import math
from collections.abc import Sequence

from dpaudit.accounting import benchmark_epsilon, epsilon_bracket
from dpaudit.contract import Calibration, EventTrace, RunConfig, UnsupportedCellError


def reported_epsilon(config: RunConfig, sigmas: Sequence[float | None]) -> float | None:
    """Epsilon that the claim's own accountant gives for a whole run.

    PLD: the upper end for the reported schedule. The benchmark's formula: only the last sigma, for all steps, because
    that is what the benchmark accounts. ``None`` where a sigma that the accountant needs is missing, where the cell has
    no accounting, and where epsilon is not finite.
    """
    try:
        epsilon = _by_claim(config, sigmas)
    except UnsupportedCellError:
        return None
    return epsilon if epsilon is not None and math.isfinite(epsilon) else None


def _by_claim(config: RunConfig, sigmas: Sequence[float | None]) -> float | None:
    match config.calibration:
        case Calibration.BENCHMARK:
            last = sigmas[-1] if sigmas else None
            if last is None or not last > 0:
                return None
            return benchmark_epsilon(
                sampling_probability=config.sampling_probability,
                sigma=last,
                steps=config.total_steps,
                delta=config.target_delta,
            )
        case Calibration.PLD:
            known = tuple(sigma for sigma in sigmas if sigma is not None)
            if len(known) != config.total_steps:
                return None
            return epsilon_bracket(EventTrace.of_run(config, known), config.target_delta).upper


def epsilon_so_far(config: RunConfig, sigmas: Sequence[float | None]) -> float | None:
    """An upper bound for the steps done, cheap enough to show while training: all steps at their smallest sigma."""
    known = [sigma for sigma in sigmas if sigma is not None]
    if config.calibration is Calibration.BENCHMARK:
        return None  # its formula knows whole runs only
    if not known or len(known) != len(sigmas):
        return None
    trace = EventTrace(
        cell=config.cell,
        sampling_probability=config.sampling_probability,
        sigmas=(min(known),) * len(known),
        steps_per_epoch=config.steps_per_epoch,
        batch_size=config.batch_size,
        dataset_size=config.dataset_size,
        preparation=config.preparation,
    )
    try:
        return epsilon_bracket(trace, config.target_delta).upper
    except UnsupportedCellError:
        return None
