"""``dpaudit plan``: shares of the level, ceilings, needed counts and expected time of attacks, before any is played."""

import argparse
import json
import math
import sys
from dataclasses import asdict

from dpaudit.contract import ExitCode, Measurement, NoiseClass, Outcome, RunConfig, plain_number
from dpaudit.empirical import (
    GATE_LEVEL,
    PRINT_LEVEL,
    AttackPlan,
    CanaryPlan,
    Case,
    Forecast,
    forecast,
    make_plan,
    modelled,
    plan_canaries,
    simulates,
)
from dpaudit.probe import SourceError, load_source, measure

from .attack import plan_row
from .preset import configured
from .progress import Progress

_SIMULATED = 20_000


def run(arguments: argparse.Namespace) -> ExitCode:
    """Plan and print. No attack is played; with PATH the mechanism is probed, in a worker process."""
    config = configured(arguments)
    try:
        measurement = _measured(arguments, config)
    except SourceError as error:
        print(f"{error.finding.rule} {error.finding.file}: {error.finding.message}", file=sys.stderr)
        return ExitCode.INCONCLUSIVE
    attacks = make_plan(config, measurement, budget_seconds=arguments.seconds)
    case = Case.of(config, measurement)
    known = simulates(config) and bool(case.candidates)
    trace, what = modelled(case, measurement)
    what = what if arguments.path else "the claim taken at its word"
    forecasts = forecast(case, trace, simulated=_SIMULATED, seed=arguments.seed) if known else ()
    canaries = _canaries(case, arguments, known)
    if arguments.format == "json":
        json.dump(_record(config, attacks, canaries, forecasts, what), sys.stdout, allow_nan=False)
        sys.stdout.write("\n")
    else:
        print(_text(config, attacks, canaries, forecasts, what))
    return ExitCode.ALL_ACCEPTED


def _measured(arguments: argparse.Namespace, config: RunConfig) -> Measurement:
    """The probe's measurement, or the claim taken at its word."""
    if arguments.path is None:
        steps = config.total_steps
        return Measurement(
            outcome=Outcome.NOT_APPLICABLE,
            reported=(config.noise_multiplier,) * steps,
            measured=(config.noise_multiplier,) * steps,
            classes=(NoiseClass.CLEAN,) * steps,
            demonstrated=False,
            pair="",
            findings=(),
            seconds=0.0,
        )
    source = load_source(arguments.path)
    with Progress(quiet=arguments.quiet) as progress:
        bar = progress.bar(arguments.path)
        bar.begin("probe")
        try:
            return measure(source, config, time_limit=120.0 + config.total_steps / 20, progress=bar.advance)
        finally:
            bar.end()


def _canaries(case: Case, arguments: argparse.Namespace, simulate: bool) -> tuple[CanaryPlan, ...]:
    if not case.candidates:
        return ()
    config = case.config
    return plan_canaries(
        case.candidates[0].budget,
        canaries=arguments.canaries,
        epsilon=config.target_epsilon,
        delta=config.target_delta,
        level=PRINT_LEVEL,
        simulate=simulate,
        seed=arguments.seed,
    )


def _record(
    config: RunConfig,
    attacks: AttackPlan,
    canaries: tuple[CanaryPlan, ...],
    forecasts: tuple[Forecast, ...],
    what: str,
) -> dict[str, object]:
    return {
        "target": {"epsilon": config.target_epsilon, "delta": config.target_delta, "cell": str(config.cell)},
        "gate_level": GATE_LEVEL,
        "print_level": PRINT_LEVEL,
        "modes": [plan_row(mode) for mode in attacks.modes],
        "schedules": list(attacks.schedules),
        "one_run": [{**asdict(row), "ceiling": plain_number(row.ceiling)} for row in canaries],
        "model": {
            "schedule": what,
            "decides": False,
            "forecasts": [
                {
                    "trials": item.trials,
                    "expected_epsilon": plain_number(item.expected.epsilon),
                    "ceiling": plain_number(item.expected.ceiling),
                    "power": item.power,
                }
                for item in forecasts
            ],
        },
        "notes": list(attacks.notes),
    }


def _text(
    config: RunConfig,
    attacks: AttackPlan,
    canaries: tuple[CanaryPlan, ...],
    forecasts: tuple[Forecast, ...],
    what: str,
) -> str:
    lines = [
        f"claim: epsilon {config.target_epsilon:g} at delta {config.target_delta:g}, {config.cell}",
        f"levels: {GATE_LEVEL:g} for a refutation, confirmed with fresh seeds; {PRINT_LEVEL:g} for printed bounds; "
        "each divided among the modes",
        f"schedules to refute: {', '.join(attacks.schedules) or 'none, the bounds are family-free'}",
        "",
        f"{'mode':<8}{'share':>10}{'needed at best':>16}{'calls a trial':>15}{'about':>12}",
    ]
    for mode in attacks.modes:
        needed = "no number" if mode.needed is None else str(mode.needed)
        seconds = "-" if math.isinf(mode.seconds) else f"{mode.seconds:.1f} s"
        lines.append(f"{mode.mode:<8}{mode.gate_level:>10.3g}{needed:>16}{mode.calls:>15}{seconds:>12}")
    if canaries:
        lines += ["", f"one training run with {canaries[0].canaries} canaries, each in by a fair coin, at 95 %:"]
        lines.append(f"{'method':<26}{'ceiling':>10}{'expected':>10}{'canaries needed at best':>26}")
        for row in canaries:
            expected = "-" if row.expected is None else f"{row.expected:.3g}"
            needed = "no number" if row.needed is None else str(row.needed)
            lines.append(f"{row.method:<26}{row.ceiling:>10.3g}{expected:>10}{needed:>26}")
    if forecasts:
        lines += ["", f"whole runs in the noise model ({what}): planning only, decides nothing"]
        lines.append(f"{'runs in each world':<20}{'epsilon >=':>12}{'ceiling':>10}{'claim refuted in':>18}")
        for item in forecasts:
            bound = item.expected
            lines.append(f"{item.trials:<20}{bound.epsilon:>12.3g}{bound.ceiling:>10.3g}{item.power:>18.0%}")
    return "\n".join([*lines, *(f"note: {note}" for note in attacks.notes)])
