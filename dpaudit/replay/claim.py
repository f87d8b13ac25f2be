"""The author's own claim: which epsilon it states, by which accountant, and whether that accountant holds at all."""

from collections.abc import Iterator
from dataclasses import replace

from dpaudit.accounting import benchmark_epsilon, epsilon_bracket
from dpaudit.contract import (
    Bracket,
    Calibration,
    Cell,
    EventTrace,
    Finding,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    Severity,
    Strength,
    plain_number,
)

ASSUMED_CELL = Cell(sampler=Sampler.POISSON, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED)
"""The event that the benchmark's formula assumes, whatever ran."""


def claimed_epsilon(config: RunConfig, reported: tuple[float, ...] | None, bracket: Bracket | None) -> float | None:
    """Epsilon that the claim states for its reported schedule, by its own accountant.

    The benchmark accounts the sigma of the LAST step for the whole run; dpaudit's own accountant takes the whole schedule
    and states its pessimistic end.
    """
    if reported is None:
        return None
    if config.calibration is Calibration.BENCHMARK:
        return _by_formula(config, reported)
    return None if bracket is None else bracket.upper


def claim_findings(
    config: RunConfig, reported: tuple[float, ...] | None, *, file: str, rerun: str
) -> Iterator[Finding]:
    """Two findings kept apart: the formula against the event that it assumes, and that event against what ran."""
    if config.calibration is not Calibration.BENCHMARK or reported is None:
        return
    claimed = _by_formula(config, reported)
    assumed = _assumed(config, reported)
    if assumed.lower is not None and assumed.lower > claimed:
        yield Finding(
            rule="DPA401",
            severity=Severity.CRITICAL if assumed.lower > config.target_epsilon else Severity.MAJOR,
            strength=Strength.PROOF,
            message=(
                f"the benchmark's formula states epsilon {claimed:.4g}; under the Poisson sampling that it assumes the "
                f"sigma it was told ({reported[-1]:.6g}, {config.total_steps} steps) costs at least {assumed.lower:.4g}"
                f"{'' if assumed.upper is None else f' and at most {assumed.upper:.4g}'}."
            ),
            file=file,
            evidence={
                "claimed": plain_number(claimed),
                "epsilon_lower": plain_number(assumed.lower),
                "epsilon_upper": None if assumed.upper is None else plain_number(assumed.upper),
                "cell": str(ASSUMED_CELL),
                "method": assumed.lower_method,
            },
            rerun=rerun,
        )
    if config.cell.sampler is not Sampler.POISSON:
        own = epsilon_bracket(EventTrace.of_run(config, reported), config.target_delta)
        ends = f"[{'not proved' if own.lower is None else f'{own.lower:.4g}'}, {_end(own.upper)}]"
        yield Finding(
            rule="DPA402",
            severity=Severity.MAJOR,
            strength=Strength.PROOF,
            message=(
                f"the claim assumes Poisson sampling; what runs is {config.cell.sampler} ({config.cell.relation}), whose "
                f"own bracket at the reported schedule is {ends}. Poisson figures do not apply to it."
            ),
            file=file,
            evidence={
                "sampler": str(config.cell.sampler),
                "epsilon_lower": None if own.lower is None else plain_number(own.lower),
                "epsilon_upper": None if own.upper is None else plain_number(own.upper),
            },
            rerun=rerun,
        )


def _by_formula(config: RunConfig, reported: tuple[float, ...]) -> float:
    return benchmark_epsilon(
        sampling_probability=config.batch_size / config.dataset_size,
        sigma=reported[-1],
        steps=config.total_steps,
        delta=config.target_delta,
    )


def _assumed(config: RunConfig, reported: tuple[float, ...]) -> Bracket:
    trace = EventTrace(
        cell=replace(ASSUMED_CELL, nonfinite=config.cell.nonfinite),
        sampling_probability=config.batch_size / config.dataset_size,
        sigmas=(reported[-1],) * config.total_steps,
    )
    return epsilon_bracket(trace, config.target_delta)


def _end(value: float | None) -> str:
    return "not proved" if value is None else f"{value:.4g}"
