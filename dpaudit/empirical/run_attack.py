"""Attack on the composed run: the candidate EXECUTES all steps with the declared sampler, many times over.

Nothing about the mechanism is modelled: what its releases give away over a whole run, through shifts or through the scale of
its noise, is what is counted. One trial is one run, so trials are few and the bound needs the trade-off curve to be sharp.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import RunConfig, Sampler

from .game import Setup
from .rectangle import Tally, gaussian_mu
from .sequential import PairWealth
from .shuffled_statistic import one_place
from .stage import CandidateFailed, Stage
from .statistics import Statistic, midpoint, run_statistics
from .step_attack import play_both
from .thresholds import choose_threshold, tally_at

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_PILOT_RUNS = (16, 100)
_PILOT_CALLS = 4000
_CHUNK = 4
_MODEL_RUNS = 2000


def pilot_runs(steps: int) -> int:
    """Runs of the pilot in each world: more where a run is short."""
    fewest, most = _PILOT_RUNS
    return max(fewest, min(most, _PILOT_CALLS // steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenRun:
    """What the pilot settled on. ``planned``: pairs of runs that are to count."""

    setup: Setup
    statistic: Statistic
    threshold: float
    seconds_per_run: float
    planned: int

    def calls(self, inside: Floats, outside: Floats) -> tuple[Bools, Bools]:
        """Which runs are called "in"."""
        return self.statistic.score(inside) > self.threshold, self.statistic.score(outside) > self.threshold


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Runs that count.

    Attributes:
        refuted: by the pair tests, all of them.
        stopped: before the last pair, because of what the runs showed: no rectangle of these runs is valid.
        right: every pair, in its order.
    """

    tally: Tally
    refuted: bool
    stopped: bool
    right: Bools


def play(
    stage: Stage,
    chosen: ChosenRun,
    tests: Sequence[PairWealth],
    *,
    pairs: int,
    seed: int,
    until: float,
    look_every: int | None = None,
) -> Played:
    """Play pairs of runs until every pair test has refuted, or ``pairs`` are played, or the time ends (at least one chunk).

    Args:
        look_every: give up, after every so many pairs, if a test is hopeless (:meth:`PairWealth.hopeless`).

    Raises:
        CandidateFailed: see :meth:`Stage.play`.
    """
    spent = 0.0
    inside_calls: list[Bools] = []
    outside_calls: list[Bools] = []
    refuted = hopeless = False
    looked = 0
    for start in range(0, pairs, _CHUNK):
        inside, outside, seconds = play_both(
            stage, chosen.setup, trials=min(_CHUNK, pairs - start), seed=seed + start, until=max(1.0, until - spent)
        )
        hits, misses = chosen.calls(inside, outside)
        inside_calls.append(hits)
        outside_calls.append(misses)
        for test in tests:
            test.update(hits & ~misses)
        spent += seconds
        played = start + len(hits)
        refuted = bool(tests) and all(test.refuted for test in tests)
        if look_every is not None and played - looked >= look_every:
            looked = played
            hopeless = not refuted and any(test.hopeless(played, pairs) for test in tests)
        if refuted or hopeless or spent > until:
            break
    hits, misses = np.concatenate(inside_calls), np.concatenate(outside_calls)
    tally = Tally(
        false_positives=int(misses.sum()),
        outside=len(misses),
        false_negatives=int((~hits).sum()),
        inside=len(hits),
    )
    return Played(tally=tally, refuted=refuted, stopped=refuted or hopeless, right=hits & ~misses)


def pilot(
    stage: Stage, config: RunConfig, *, runs: int, seed: int, until: float, pairs: int, test_seconds: float
) -> ChosenRun:
    """Play ``runs`` runs of each world (fewer if the time ends), learn statistics, choose one with its threshold.

    The threshold is the one that serves best for the runs that will count: ``pairs``, or as many as ``test_seconds`` allow.

    Statistics are learned on one half of the runs and judged on the other: one that fits its own runs must not win.

    Raises:
        CandidateFailed: see :meth:`Stage.play`.
    """
    shuffled = stage.sampler is Sampler.SHUFFLE
    setup = Setup(
        steps=config.total_steps,
        sampled=True,
        few=True,
        facing=shuffled,
        base_norms=(1.0,) if shuffled else (0.0,),
    )
    try:
        inside, outside, seconds = play_both(stage, setup, trials=runs, seed=seed, until=until)
    except CandidateFailed:
        if not stage.alive:
            raise
        # it may insist on the number of tensors that it was made for
        setup = replace(setup, few=False)
        inside, outside, seconds = play_both(stage, setup, trials=runs, seed=seed, until=until)
    half = len(inside) // 2 if len(inside) >= 4 else 0
    learning = (inside[:half], outside[:half]) if half else (inside, outside)
    cost = seconds / (2 * len(inside))
    planned = max(8, min(pairs, int(test_seconds / (2 * cost))))
    best: tuple[float, ChosenRun] | None = None
    statistics = run_statistics(*learning, config.sampling_probability)
    if shuffled:
        statistics.insert(0, one_place(*learning, steps_per_epoch=config.steps_per_epoch, missed=_missed(config)))
    for index, statistic in enumerate(statistics):
        scores = statistic.score(inside[half:]), statistic.score(outside[half:])
        threshold = midpoint(*scores)
        if statistic.model is not None:
            # the fitted model places the threshold better than a handful of runs; where it is wrong, only power is lost
            drawn = statistic.model(_MODEL_RUNS, seed)
            threshold = choose_threshold(*drawn, _objective, level=1e-6, scale=planned / _MODEL_RUNS)
        # the first statistic is the ideal one for an honest mechanism: others must be clearly better
        value = _objective(tally_at(threshold, *scores), 0.3) - 0.3 * index
        chosen = ChosenRun(setup=setup, statistic=statistic, threshold=threshold, seconds_per_run=cost, planned=planned)
        if best is None or value > best[0]:
            best = value, chosen
    assert best is not None
    return best[1]


def _missed(config: RunConfig) -> float:
    """How likely it is that a shuffled row falls behind the last full batch of its epoch."""
    return max(0.0, 1 - config.steps_per_epoch * config.batch_size / config.dataset_size)


def _objective(tally: Tally, level: float) -> float:
    return gaussian_mu(tally.rectangle(level))
