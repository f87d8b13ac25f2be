"""``attack``: the empirical layer's public entry. Try to refute a claim; say what was shown and what could have been."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import Measurement, RunConfig
from dpaudit.probe import MechanismSource

from . import run_attack, step_attack
from .accountant_family import accountant_family, paired, reach_of
from .bound import Design, Family, LowerBound
from .planning import Case, ModePlan, make_plan
from .rectangle import Tally, clopper_pearson, gaussian, gaussian_mu
from .result import EmpiricalResult, Heard, result_of
from .stage import CandidateFailed, Stage

_PILOT_TRIALS = 150
_MOST_TRIALS = 20_000
_MOST_RUNS = 400
_TEST, _CONFIRM = 1000, 2000


def attack(
    source: MechanismSource,
    config: RunConfig,
    measurement: Measurement,
    *,
    seed: int = 0,
    budget_seconds: float = 60.0,
    modes: Sequence[str] = ("step", "run"),
) -> EmpiricalResult:
    """Attack a mechanism's claim. The candidate's code runs in a worker process only.

    Guarantee: for a mechanism that keeps its claim, VIOLATED has probability at most 1e-6 (in fact its square: the same test
    on fresh seeds must refute too), and ``epsilon_lower`` exceeds the truth with probability at most 5 %. Both hold given the
    printed notes: trials are independent because the mechanism's whole state and the default generators are set afresh for
    each, and thresholds and statistics were chosen on other trials.

    Args:
        measurement: the probe's; its complete schedule, if any, is a candidate that a refutation must exclude.
        seed: of every trial, sampler coin and pilot.
        budget_seconds: about how long all attacks may take, without starting the worker.
        modes: ``step`` and ``run``; the levels are divided among them. Later modes are skipped once one has refuted.

    Raises:
        UsageError: unknown modes or a bad budget. AuditBrokenError: dpaudit itself failed.
    """
    started = time.monotonic()
    plan = make_plan(config, measurement, modes=modes, budget_seconds=budget_seconds)
    case = Case.of(config, measurement)
    heard: list[Heard] = []
    failure: CandidateFailed | None = None
    try:
        with Stage(source, config) as stage:
            start = time.monotonic()
            for index, mode in enumerate(plan.modes):
                left = budget_seconds - (time.monotonic() - start)
                share = left / (len(plan.modes) - index) if mode.mode == "run" else 0.4 * left
                if len(plan.modes) == 1:
                    share = left
                play = _step if mode.mode == "step" else _run
                found = play(stage, case, mode, seed, max(1.0, share))
                if found is not None:
                    heard.append(found)
                if found is not None and found.confirmed:
                    break
    except CandidateFailed as error:
        failure = error
    return result_of(source, config, plan, heard, failure, time.monotonic() - started)


def _step(stage: Stage, case: Case, mode: ModePlan, seed: int, seconds: float) -> Heard | None:
    if not case.candidates:
        return None
    sigmas = case.sigmas()
    chosen = step_attack.pilot(stage, case.config, sigmas, trials=_PILOT_TRIALS, seed=seed * 8191, until=0.2 * seconds)
    if chosen.statistic.name.startswith("shift"):
        chosen = replace(chosen, setup=replace(chosen.setup, steps=1))
    step = chosen.setup.first_step

    def tally(offset: int) -> Tally:
        inside, outside, _ = step_attack.play_both(
            stage, chosen.setup, trials=_MOST_TRIALS, seed=seed * 8191 + offset, until=0.4 * seconds
        )
        return step_attack.tally_of(chosen, inside, outside)

    first = tally(_TEST)
    heard = Heard(mode, words=f"{chosen.setup}; statistic: {chosen.statistic.name}", tallies=[first])
    perfect = first.perfect
    heard.ceiling = case.step_epsilon(gaussian_mu(perfect.rectangle(mode.gate_level)), step)
    heard.able = heard.ceiling > case.config.target_epsilon
    if case.step_refuted(first, step, mode.gate_level):
        heard.refuted_by = "per_step"
        heard.tallies.append(tally(_CONFIRM))
        heard.confirmed = case.step_refuted(heard.tallies[1], step, mode.gate_level)
    delta, level = case.config.target_delta, mode.print_level
    mu = gaussian_mu(first.rectangle(level))
    heard.bounds.append(
        LowerBound(
            method="per_step",
            epsilon=case.step_epsilon(mu, step),
            ceiling=case.step_epsilon(gaussian_mu(perfect.rectangle(level)), step),
            delta=delta,
            level=level,
            counts=first.counts,
            design=Design.INDEPENDENT,
            family=Family.ACCOUNTANT,
            valid=True,
            noise_deficit=None if mu == 0 else min(1e6, _reach(case) / mu / sigmas[step]),
            note=heard.words,
        )
    )
    return heard


def _reach(case: Case) -> float:
    return reach_of(case.candidates[0].trace)


def _run(stage: Stage, case: Case, mode: ModePlan, seed: int, seconds: float) -> Heard:
    chosen = run_attack.pilot(
        stage, case.config, runs=run_attack.PILOT_RUNS, seed=seed * 8191 + 5, until=0.25 * seconds
    )
    affordable = int(0.36 * seconds / (2 * chosen.seconds_per_run))
    runs = max(8, min(_MOST_RUNS, affordable))

    def play(offset: int) -> tuple[run_attack.Played, str]:
        tests = case.pair_tests(mode.gate_level)
        played = run_attack.play(
            stage, chosen, tests, pairs=runs, seed=seed * 8191 + offset, until=max(2.0, 0.36 * seconds)
        )
        by = "sequential pair test" if played.stopped else case.run_refuted(played.tally, mode.gate_level)
        return played, by

    test, refuted_by = play(_TEST)
    first = test.tally
    heard = Heard(mode, words=f"{chosen.setup}; statistic: {chosen.statistic.name}", tallies=[first])
    needed = case.pairs_needed(mode.gate_level)
    heard.able = bool(refuted_by) or (needed is not None and first.inside >= needed)
    heard.refuted_by = refuted_by
    if heard.refuted_by:
        second, confirmed_by = play(_CONFIRM)
        heard.tallies.append(second.tally)
        heard.confirmed = bool(confirmed_by)
    heard.bounds += _run_bounds(case, test, mode.print_level, heard.words)
    heard.ceiling = max(_paired(case, np.ones_like(test.right), mode.gate_level / 2, first).epsilon, 0.0)
    return heard


def _run_bounds(case: Case, test: run_attack.Played, level: float, note: str) -> list[LowerBound]:
    """Family-free, Gaussian, and the least over the candidate schedules of the accountant's family: one rectangle.

    Where the pair test stopped early the number of runs depends on what they showed: only that test's own bound is valid.
    """
    delta, design, tally = case.config.target_delta, Design.INDEPENDENT, test.tally
    made = [clopper_pearson(tally, delta=delta, level=level, design=design)]
    made.append(
        replace(gaussian(tally, delta=delta, level=level, design=design), valid=False, note="a run is no Gaussian")
    )
    if case.candidates:
        inverted = [
            accountant_family(tally, trace=item.trace, delta=delta, level=level, design=design)
            for item in case.candidates
        ]
        made.append(min(inverted, key=lambda bound: bound.epsilon))
    if test.stopped:
        made = [replace(bound, valid=False, note="the runs were stopped early: advisory") for bound in made]
        made.append(_paired(case, test.right, level, tally))
    return [bound if bound.note else replace(bound, note=note) for bound in made]


def _paired(case: Case, right: NDArray[np.bool_], level: float, tally: Tally) -> LowerBound:
    """The least over the candidate schedules; nothing where there is none."""
    delta, design = case.config.target_delta, Design.INDEPENDENT
    if not case.candidates:
        return clopper_pearson(tally.perfect, delta=delta, level=level, design=design)
    made = [
        paired(right, trace=item.trace, delta=delta, level=level, design=design, counts=tally.counts)
        for item in case.candidates
    ]
    return min(made, key=lambda bound: bound.epsilon)
