"""``dpaudit calibrate``: the noise multiplier for a target, for a constant sigma or for a mechanism's own schedule."""

import argparse
import math
from dataclasses import dataclass, replace

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.accounting.calibrate import TOLERANCE
from dpaudit.contract import Bracket, ExitCode, Finding, Measurement, RunConfig, StaticResult, UsageError
from dpaudit.probe import MechanismSource, SourceError, load_source, measure
from dpaudit.replay import Schedule, cost, honest_factor, quotable_schedule
from dpaudit.static import analyse

from .accounts import cell_of, plain, print_record, steps_per_epoch
from .progress import Bar, Progress

_READINGS = 6
_DIGITS = 6


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print the noise multiplier that meets a target."""
    return _constant(arguments) if arguments.path is None else _mechanism(arguments)


def _constant(arguments: argparse.Namespace) -> ExitCode:
    for name in ("epsilon", "delta", "q", "steps"):
        if getattr(arguments, name) is None:
            raise UsageError(
                f"calibrate: expected --{name}; give --epsilon, --delta, --q and --steps for a constant sigma, or the PATH of "
                "a mechanism with --preset"
            )
    for name in ("rows", "time_limit"):  # a preset may come from the configuration file
        if getattr(arguments, name) is not None:
            raise UsageError(f"calibrate: --{name.replace('_', '-')} needs the PATH of a mechanism")
    cell = cell_of(arguments)
    result = calibrate_noise_multiplier(
        target_epsilon=arguments.epsilon,
        delta=arguments.delta,
        cell=cell,
        sampling_probability=arguments.q,
        steps=arguments.steps,
        steps_per_epoch=steps_per_epoch(cell, arguments),
        batch_size=arguments.batch_rows,
        dataset_size=arguments.dataset_size,
        preparation=tuple(arguments.preparation or ()),
    )
    print_record(
        arguments.format,
        {
            "noise_multiplier": result.noise_multiplier,
            "epsilon": [plain(result.bracket.lower), plain(result.bracket.upper)],
            "target": arguments.epsilon,
            "tolerance": result.tolerance,
            "delta": arguments.delta,
            "relation": str(cell.relation),
            "sampler": str(cell.sampler),
            "rows": str(cell.rows),
        },
    )
    return ExitCode.ALL_ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """The schedule of a mechanism at one noise multiplier, and what it costs."""

    schedule: Schedule
    bracket: Bracket
    factor: float


class _NothingToQuote(Exception):
    """No noise multiplier can be quoted for the mechanism."""


def _mechanism(arguments: argparse.Namespace) -> ExitCode:
    for name in ("q", "steps", "batch_rows", "dataset_size", "preparation"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"calibrate: with a PATH the preset says --{name.replace('_', '-')}; leave it out")
    config = _config(arguments)
    try:
        source = load_source(arguments.path)
        with Progress(quiet=arguments.quiet) as progress:
            multiplier, first, last = _solve(source, config, arguments.time_limit, progress.bar(source.display))
    except SourceError as error:
        print(f"{error.finding.rule}: {error.finding.message}")
        return ExitCode.INCONCLUSIVE
    except _NothingToQuote as error:
        print(error)
        return ExitCode.INCONCLUSIVE
    print_record(
        arguments.format,
        {
            "noise_multiplier": multiplier,
            "factor": multiplier / config.noise_multiplier,
            "nominal": config.noise_multiplier,
            "nominal_epsilon": [plain(first.bracket.lower), plain(first.bracket.upper)],
            "epsilon": [plain(last.bracket.lower), plain(last.bracket.upper)],
            "target": config.target_epsilon,
            "tolerance": TOLERANCE,
            "delta": config.target_delta,
            "relation": str(config.cell.relation),
            "sampler": str(config.cell.sampler),
            "rows": str(config.cell.rows),
            "steps": config.total_steps,
            "schedule": last.schedule.origin,
        },
    )
    return ExitCode.ALL_ACCEPTED


def _config(arguments: argparse.Namespace) -> RunConfig:
    import harness

    config = harness.run_config(
        arguments.preset or "digits", relation=arguments.relation, rows=arguments.rows, sampler=arguments.sampler
    )
    return replace(
        config,
        target_epsilon=arguments.epsilon or config.target_epsilon,
        target_delta=config.target_delta if arguments.delta is None else arguments.delta,
    )


def _solve(
    source: MechanismSource, config: RunConfig, time_limit: float | None, bar: Bar
) -> tuple[float, _Reading, _Reading]:
    """Read, scale, and read again until the schedule at the multiplier itself meets the target.

    The noise of most mechanisms is proportional to the multiplier, so that the second reading confirms the first; where it
    is not, the factor is applied again.
    """
    multiplier = config.noise_multiplier
    first = reading = _read(source, config, time_limit, bar)
    for _ in range(_READINGS):
        upper = reading.bracket.upper
        if upper is not None and config.target_epsilon * (1 - 2 * TOLERANCE) <= upper <= config.target_epsilon:
            return multiplier, first, reading
        if not multiplier > 0:
            break
        multiplier = _rounded_up(multiplier * reading.factor)
        reading = _read(source, replace(config, noise_multiplier=multiplier), time_limit, bar)
    raise _NothingToQuote(
        f"{source.display}: no noise multiplier found: at {multiplier:.6g} the schedule costs epsilon at most "
        f"{reading.bracket.upper}, target {config.target_epsilon:g}; its noise does not follow noise_multiplier"
    )


def _read(source: MechanismSource, config: RunConfig, time_limit: float | None, bar: Bar) -> _Reading:
    bar.begin(f"noise multiplier {config.noise_multiplier:.6g}")
    limit = 120.0 + config.total_steps / 20 if time_limit is None else time_limit
    measurement = measure(source, config, time_limit=limit, progress=bar.advance)
    static = analyse(source, config, time_limit=60.0 + config.total_steps / 20)
    schedule = quotable_schedule(measurement, static)
    factor = honest_factor(config, schedule)
    if schedule is None or factor is None:
        raise _NothingToQuote(_why(source, config, measurement, static))
    return _Reading(schedule=schedule, bracket=cost(config, schedule), factor=factor)


def _why(source: MechanismSource, config: RunConfig, measurement: Measurement, static: StaticResult) -> str:
    unread = sum(sigma is None for sigma in measurement.measured)
    silent = sum(sigma == 0 for sigma in measurement.measured)
    if unread or silent:
        what = f"{unread} of {config.total_steps} steps have no noise multiplier, {silent} have no noise"
    else:
        what = "no pair of neighbours was demonstrated to attain the measured noise, and nothing was proved"
    findings: tuple[Finding, ...] = measurement.findings + (() if static.refusal is None else (static.refusal,))
    said = "".join(
        f"\n  {finding.rule} {finding.file}{'' if finding.line is None else f':{finding.line}'}: {finding.message}"
        for finding in findings
    )
    return f"{source.display}: no sigma can be quoted, so no factor on it is honest: {what}{said}"


def _rounded_up(value: float) -> float:
    """To six significant digits, upwards."""
    unit = 10.0 ** (math.floor(math.log10(value)) - _DIGITS + 1)
    return float(f"{math.ceil(value / unit) * unit:.{_DIGITS + 2}g}")
