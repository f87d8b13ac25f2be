"""Mode ``model``: what whole runs of the probe's noise model would show, for planning. It rejects and accepts nothing.

The candidate is not executed. What is simulated is a trace: the schedule that the probe read (or, where it read none, the
one that is claimed), with the threshold that serves best in the simulation itself.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import EventTrace, Measurement, Outcome, RunConfig, Sampler

from .accountant_family import accountant_family, optimistic_epsilon
from .bound import Design, LowerBound
from .model import simulated_scores
from .planning import GATE_LEVEL, PRINT_LEVEL, AttackPlan, Case, ModePlan
from .rectangle import Tally, gaussian_mu
from .result import EmpiricalResult
from .thresholds import choose_threshold, tally_at

Floats = NDArray[np.float64]

MODEL_RUNS = 100_000
"""Runs simulated in each world."""
TRIALS = (30, 100, 300, 1000, 3000, 10_000)
"""Numbers of real runs in each world for which a forecast is made."""
_DRAWS = 300
_SEEN = 2000
_NOTE = "simulated from the noise model: for planning, decides nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What ``trials`` runs in each world would bring: the expected bound at 95 %, and how often the claim would be refuted."""

    trials: int
    expected: LowerBound
    power: float


def forecast(
    case: Case, trace: EventTrace, *, simulated: int = MODEL_RUNS, seed: int = 0, trials: tuple[int, ...] = TRIALS
) -> tuple[Forecast, ...]:
    """Forecasts for runs of ``trace`` tested against the claim of ``case``.

    Raises:
        UsageError: see :func:`model.simulated_scores`.
    """
    inside, outside = simulated_scores(trace, runs=simulated, seed=seed)
    generator = np.random.default_rng(seed + 1)
    found = []
    for count in trials:
        fpr, fnr = _rates(inside, outside, count, PRINT_LEVEL)
        expected = _errors(round(fpr * count), round(fnr * count), count)
        fpr, fnr = _rates(inside, outside, count, GATE_LEVEL)
        draws = generator.binomial(count, [[fpr, fnr]] * _DRAWS)
        refuted = {
            pair: bool(case.run_refuted(_errors(pair[0], pair[1], count), GATE_LEVEL))
            for pair in {(int(one), int(two)) for one, two in draws}
        }
        power = float(np.mean([refuted[(int(one), int(two))] for one, two in draws]))
        found.append(Forecast(trials=count, expected=_bound(case, expected), power=power))
    return tuple(found)


def attack_model(
    source_name: str, config: RunConfig, measurement: Measurement, *, seed: int = 0, simulated: int = MODEL_RUNS
) -> EmpiricalResult:
    """Forecasts in the shape of an attack's result. Its outcome is INCONCLUSIVE whatever the forecasts are.

    Args:
        source_name: of the mechanism, for the words alone; its code is not run.

    Raises:
        UsageError: the sampler is not simulated.
    """
    started = time.monotonic()
    case = Case.of(config, measurement)
    trace, what = modelled(case, measurement)
    found = forecast(case, trace, simulated=simulated, seed=seed)
    enough = next((item for item in found if item.power >= 0.9), None)
    truth = optimistic_epsilon(trace, config.target_delta)
    verdict = (
        f"{enough.trials} runs in each world would refute the claim in {enough.power:.0%} of attacks"
        if enough is not None
        else f"even {found[-1].trials} runs in each world would refute the claim in {found[-1].power:.0%} of attacks only"
    )
    mode = ModePlan(
        mode="model",
        gate_level=GATE_LEVEL,
        print_level=PRINT_LEVEL,
        needed=None if enough is None else enough.trials,
        calls=0,
        seconds=0.0,
    )
    return EmpiricalResult(
        outcome=Outcome.INCONCLUSIVE,
        summary=(
            f"planning only, nothing was executed: in the noise model of {source_name} ({what}, epsilon {truth:.4g}) {verdict}"
        ),
        epsilon_lower=None,
        method="",
        ceiling=0.0,
        bounds=tuple(item.expected for item in found),
        findings=(),
        plan=AttackPlan(
            modes=(mode,), schedules=tuple(item.name for item in case.candidates), budget_seconds=0.0, notes=()
        ),
        seconds=time.monotonic() - started,
        notes=(
            f"{simulated} simulated runs in each world; a row of full sensitivity beside rows of zero",
            *(f"{item.trials} runs in each world: the claim is refuted in {item.power:.0%}" for item in found),
        ),
    )


def modelled(case: Case, measurement: Measurement) -> tuple[EventTrace, str]:
    """The trace to simulate, and what it is in words."""
    sigmas = tuple(sigma for sigma in measurement.measured if sigma is not None and 0 < sigma < math.inf)
    if len(sigmas) == case.config.total_steps:
        return EventTrace.of_run(case.config, sigmas), "the measured schedule"
    if case.candidates:
        return case.candidates[0].trace, f"the {case.candidates[0].name} schedule: the probe read no complete one"
    sigma = case.config.noise_multiplier
    return EventTrace.of_run(case.config, (sigma,) * case.config.total_steps), "the constructor's noise multiplier"


def simulates(config: RunConfig) -> bool:
    """Whether the model knows the sampler."""
    return config.cell.sampler in (Sampler.POISSON, Sampler.TRUNCATED_POISSON)


def _rates(inside: Floats, outside: Floats, trials: int, level: float) -> tuple[float, float]:
    """Error rates in the simulation at the threshold that serves best for so many trials at this level."""
    threshold = choose_threshold(
        inside[:_SEEN],
        outside[:_SEEN],
        lambda tally, share: gaussian_mu(tally.rectangle(share)),
        level=level,
        scale=trials / _SEEN,
    )
    seen = tally_at(threshold, inside, outside)
    return seen.false_positives / seen.outside, seen.false_negatives / seen.inside


def _errors(false_positives: int, false_negatives: int, trials: int) -> Tally:
    return Tally(false_positives=false_positives, outside=trials, false_negatives=false_negatives, inside=trials)


def _bound(case: Case, tally: Tally) -> LowerBound:
    """The least over the candidate schedules, marked as no evidence."""
    delta, design = case.config.target_delta, Design.INDEPENDENT
    made = [
        accountant_family(tally, trace=item.trace, delta=delta, level=PRINT_LEVEL, design=design)
        for item in case.candidates
    ]
    return replace(min(made, key=lambda bound: bound.epsilon), method="model", valid=False, note=_NOTE)
