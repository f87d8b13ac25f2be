"""``attack``: the empirical layer's public entry. Try to refute a claim; say what was shown and what could have been."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import Measurement, RunConfig, Sampler, UsageError
from dpaudit.probe import MechanismSource

from . import run_attack, step_attack
from .accountant_family import accountant_family, paired, reach_of
from .bound import Design, Family, LowerBound
from .effort import THOROUGH, Effort
from .longer import longer
from .planning import Case, ModePlan, make_plan
from .rectangle import Tally, clopper_pearson, gaussian, gaussian_mu
from .result import EmpiricalResult, Heard, result_of
from .sequential import paired_free
from .stage import CandidateFailed, Stage

PILOT_TRIALS = 150
_TEST, _CONFIRM = 1000, 2000
_SEEDS = 8191


def attack(
    source: MechanismSource,
    config: RunConfig,
    measurement: Measurement,
    *,
    seed: int = 0,
    budget_seconds: float = 60.0,
    modes: Sequence[str] = ("step", "run"),
    effort: Effort = THOROUGH,
    drawn: Sampler | None = None,
    progress: Callable[[str, float, float], None] | None = None,
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
        effort: what is spent of the budget.
        drawn: how batches are really drawn, where that is not what the claim is accounted for. Whole runs alone see it.
        progress: called with (what is played, seconds spent, seconds in all).

    Raises:
        UsageError: unknown modes, a bad budget, or ``drawn`` without the mode ``run`` alone. AuditBrokenError: dpaudit itself
            failed.
    """
    started = time.monotonic()
    foreign = None if drawn is config.cell.sampler else drawn
    if foreign is not None and tuple(modes) != ("run",):
        raise UsageError("attack: only the mode run, by itself, sees how batches are drawn")
    plan = make_plan(config, measurement, modes=modes, budget_seconds=budget_seconds)
    game = Game(Case.of(config, measurement), seed, effort, budget_seconds, progress, foreign=foreign is not None)
    failure: CandidateFailed | None = None
    try:
        with Stage(source, config, tick=game.tick, drawn=drawn) as stage:
            game.begin()
            for index, mode in enumerate(plan.modes):
                game.play(stage, mode, last=index == len(plan.modes) - 1)
                if game.heard and game.heard[-1].confirmed:
                    break
    except CandidateFailed as error:
        failure = error
    return replace(
        result_of(source, config, plan, game.heard, failure, time.monotonic() - started, drawn=foreign),
        longer=longer(game.case, plan, game.heard, game.left_out),
    )


class Game:
    """One attack under way: the clock, and what was heard so far. ``heard`` has one entry for each mode played."""

    def __init__(
        self,
        case: Case,
        seed: int,
        effort: Effort,
        budget: float,
        progress: Callable[[str, float, float], None] | None,
        *,
        pilot_trials: int = PILOT_TRIALS,
        foreign: bool = False,
    ) -> None:
        self.case = case
        self.foreign = foreign
        self.pilot_trials = pilot_trials
        self.seed = seed * _SEEDS
        self.effort = effort
        self.budget = budget
        self.progress = progress
        self.doing = "start"
        self.start = time.monotonic()
        self.heard: list[Heard] = []
        self.left_out: dict[str, float] = {}

    def begin(self) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def tick(self) -> None:
        """Tell the one who waits."""
        if self.progress is not None:
            self.progress(self.doing, min(self.budget, time.monotonic() - self.start), self.budget)

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - (time.monotonic() - self.start)

    def play(self, stage: Stage, mode: ModePlan, *, last: bool) -> None:
        """Play one mode, unless it cannot show anything or does not fit into the time."""
        if mode.mode == "step":
            if self.case.candidates:
                self.heard.append(self._step(stage, mode, self.left if last else 0.4 * self.left))
            return
        if self.effort.only_if_planned:
            wanted = self._expected_run_seconds(mode)
            if wanted > 0.9 * self.left:
                self.left_out[mode.mode] = wanted
                return
        self.heard.append(self._run(stage, mode, max(1.0, self.left)))

    def _expected_run_seconds(self, mode: ModePlan) -> float:
        """For the pilot and for as many pairs as a perfect attack needs, by what a call has cost so far."""
        if mode.needed is None:
            return float("inf")
        calls = 2 * (run_attack.pilot_runs(mode.calls) + mode.needed) * mode.calls
        costs = [found.seconds_per_call for found in self.heard if found.seconds_per_call > 0]
        return calls * costs[-1] if costs else mode.seconds / 2

    def _step(self, stage: Stage, mode: ModePlan, seconds: float) -> Heard:
        case, seed = self.case, self.seed
        sigmas = case.sigmas()
        self.doing = "step: pilot"
        chosen = step_attack.pilot(
            stage, case.config, sigmas, trials=self.pilot_trials, seed=seed, until=max(1.0, 0.2 * seconds)
        )
        step = chosen.setup.first_step
        spent = 0.0

        def tally(offset: int) -> Tally:
            nonlocal spent
            inside, outside, took = step_attack.play_both(
                stage, chosen.setup, trials=self.effort.step_trials, seed=seed + offset, until=max(1.0, 0.4 * seconds)
            )
            spent = took / (2 * len(inside) * chosen.setup.steps)
            return step_attack.tally_of(chosen, inside, outside)

        self.doing = "step: test"
        first = tally(_TEST)
        heard = Heard(mode, words=f"{chosen.setup}; statistic: {chosen.statistic.name}", tallies=[first], step=step)
        heard.seconds_per_call = spent
        heard.ceiling = case.step_epsilon(gaussian_mu(first.perfect.rectangle(mode.gate_level)), step)
        heard.able = heard.ceiling > case.config.target_epsilon
        if case.step_refuted(first, step, mode.gate_level):
            heard.refuted_by = "per_step"
            self.doing = "step: confirmation"
            heard.tallies.append(tally(_CONFIRM))
            heard.confirmed = case.step_refuted(heard.tallies[1], step, mode.gate_level)
        heard.bounds.append(_step_bound(case, first, step, mode.print_level, heard.words))
        return heard

    def _run(self, stage: Stage, mode: ModePlan, seconds: float) -> Heard:
        case, seed = self.case, self.seed
        self.doing = "run: pilot"
        chosen = run_attack.pilot(
            stage,
            case.config,
            runs=run_attack.pilot_runs(case.config.total_steps),
            seed=seed + 5,
            until=max(1.0, 0.25 * seconds),
            pairs=self.effort.run_pairs,
            test_seconds=0.36 * seconds,
        )

        def play(offset: int) -> tuple[run_attack.Played, str]:
            played = run_attack.play(
                stage,
                chosen,
                case.pair_tests(mode.gate_level),
                pairs=chosen.planned,
                seed=seed + offset,
                until=max(2.0, 0.36 * seconds),
                look_every=mode.needed if self.effort.only_if_planned else None,
            )
            if played.refuted:
                return played, "sequential pair test"
            return played, "" if played.stopped else case.run_refuted(played.tally, mode.gate_level)

        self.doing = "run: test"
        test, refuted_by = play(_TEST)
        first = test.tally
        heard = Heard(mode, words=f"{chosen.setup}; statistic: {chosen.statistic.name}", tallies=[first])
        heard.seconds_per_call = chosen.seconds_per_run / case.config.total_steps
        heard.able = bool(refuted_by) or (mode.needed is not None and first.inside >= mode.needed)
        heard.refuted_by = refuted_by
        if heard.refuted_by:
            self.doing = "run: confirmation"
            second, confirmed_by = play(_CONFIRM)
            heard.tallies.append(second.tally)
            heard.confirmed = bool(confirmed_by)
        heard.bounds += _run_bounds(case, test, mode.print_level, heard.words, foreign=self.foreign)
        perfect = clopper_pearson(
            first.perfect, delta=case.config.target_delta, level=mode.gate_level / 2, design=Design.INDEPENDENT
        )
        by_pairs = _paired(case, np.ones_like(test.right), mode.gate_level / 2, first, foreign=self.foreign)
        shown = [bound.epsilon for bound in heard.bounds if bound.valid]
        heard.ceiling = max([by_pairs.ceiling, perfect.epsilon, *shown])
        return heard


def _step_bound(case: Case, tally: Tally, step: int, level: float, note: str) -> LowerBound:
    mu = gaussian_mu(tally.rectangle(level))
    reach, sigma = reach_of(case.candidates[0].trace), case.sigmas()[step]
    return LowerBound(
        method="per_step",
        epsilon=case.step_epsilon(mu, step),
        ceiling=case.step_epsilon(gaussian_mu(tally.perfect.rectangle(level)), step),
        delta=case.config.target_delta,
        level=level,
        counts=tally.counts,
        design=Design.INDEPENDENT,
        family=Family.ACCOUNTANT,
        valid=True,
        noise_deficit=None if mu == 0 else min(1e6, reach / mu / sigma),
        note=note,
    )


def _run_bounds(case: Case, test: run_attack.Played, level: float, note: str, *, foreign: bool) -> list[LowerBound]:
    """Family-free, Gaussian, and the least over the candidate schedules of the accountant's family: one rectangle.

    Where the runs were stopped by what they showed, only the pair test's own bound is valid; which of the two is given
    depends on the runs, so each has half the level.
    """
    delta, design, tally, share = case.config.target_delta, Design.INDEPENDENT, test.tally, level / 2
    if test.stopped:
        return [replace(_paired(case, test.right, share, tally, foreign=foreign), note=note)]
    made = [clopper_pearson(tally, delta=delta, level=share, design=design)]
    made.append(
        replace(gaussian(tally, delta=delta, level=share, design=design), valid=False, note="a run is no Gaussian")
    )
    if case.candidates:
        inverted = [
            accountant_family(tally, trace=item.trace, delta=delta, level=share, design=design)
            for item in case.candidates
        ]
        made.append(min(inverted, key=lambda bound: bound.epsilon))
    return [bound if bound.note else replace(bound, note=note) for bound in made]


def _paired(case: Case, right: NDArray[np.bool_], level: float, tally: Tally, *, foreign: bool) -> LowerBound:
    """The least over the candidate schedules; family-free where there is none, or batches are not drawn as they say."""
    delta, design = case.config.target_delta, Design.INDEPENDENT
    if foreign or not case.candidates:
        return paired_free(right, delta=delta, level=level, design=design, counts=tally.counts)
    made = [
        paired(right, trace=item.trace, delta=delta, level=level, design=design, counts=tally.counts)
        for item in case.candidates
    ]
    return min(made, key=lambda bound: bound.epsilon)
