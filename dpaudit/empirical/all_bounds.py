"""All bounds on one set of scores, by name."""

from collections.abc import Callable

import numpy as np

from dpaudit.contract import EventTrace, UsageError

from .accountant_family import accountant_family, accountant_family_by_ranks, one_run_accountant, per_step
from .bound import Design, LowerBound, require_delta, require_level
from .one_run import one_run_gaussian, steinke, tries
from .order_statistics import order_statistics
from .ranks import gaussian_by_ranks, rank_test, ranked
from .rectangle import Rectangle, Tally, clopper_pearson, clopper_pearson_epsilon, gaussian, gaussian_mu, posterior
from .scores import Scores
from .sequential import sequential
from .thresholds import GAUSSIAN_SHARES, RUN_SHARES, Bonferroni, Ranks, Strategy, best_bound, choose_threshold

METHODS = (
    "clopper_pearson",
    "rank_test",
    "bayesian",
    "gdp",
    "sequential",
    "steinke",
    "one_run_fdp",
    "order_statistics",
    "accountant_family",
    "one_run_fdp_accountant",
    "per_step",
)
"""Names of all bounds. The last three need the declared event trace."""

NEEDS_TRACE = frozenset({"accountant_family", "one_run_fdp_accountant", "per_step"})


_BY_RANKS: dict[str, Ranks] = {
    "rank_test": Ranks(),
    "gdp": Ranks(shares=GAUSSIAN_SHARES),
    "per_step": Ranks(shares=GAUSSIAN_SHARES),
    "accountant_family": Ranks(shares=RUN_SHARES),
}
"""Bounds that are read off exact tests at ranks, unless a strategy for a rectangle is asked for."""


def bounds_on(
    scores: Scores,
    *,
    delta: float,
    level: float,
    design: Design,
    methods: tuple[str, ...],
    trace: EventTrace | None = None,
    strategy: Strategy | None = None,
    seed: int = 0,
) -> tuple[LowerBound, ...]:
    """The named bounds, each at ``level`` by itself.

    Printing several bounds and reading off the largest costs confidence, except among the methods that read the same
    rectangle; fix in advance which one counts. ``per_step`` takes the scores as those of one step given inclusion,
    every other bound as those of whole runs. ``strategy`` asks for a rectangle at a threshold that it places; by default ``gdp``,
    ``per_step`` and ``accountant_family`` are exact tests at ranks fixed in advance (:mod:`ranks`), and ``rank_test`` always is.

    Raises:
        UsageError: an unknown method, or one that needs a trace without one.
    """
    require_level(level)
    require_delta(delta)
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"--method: expected names among {', '.join(METHODS)}, or all, got {name!r}")
        if name in NEEDS_TRACE and trace is None:
            raise UsageError(f"--method {name}: needs the declared event: give --q, --sigma and --steps")
    guesses = tries(scores.inside, scores.outside)
    made = []
    for name in methods:
        match name:
            case "steinke":
                made.append(steinke(guesses, delta=delta, level=level, design=design))
            case "one_run_fdp":
                made.append(one_run_gaussian(guesses, delta=delta, level=level, design=design))
            case "order_statistics":
                made.append(
                    order_statistics(scores.inside, scores.outside, delta=delta, level=level, design=design, seed=seed)
                )
            case "one_run_fdp_accountant":
                assert trace is not None
                made.append(one_run_accountant(guesses, trace=trace, delta=delta, level=level, design=design))
            case "sequential" if min(len(scores.inside), len(scores.outside)) < 2 and len(methods) > 1:
                continue  # one score of a side leaves nothing to test on; asked for by itself, it is an error
            case "sequential":
                made.append(_sequential(scores, delta, level, design, seed))
            case "rank_test" | "gdp" | "per_step" | "accountant_family" if strategy is None or name == "rank_test":
                made.append(_by_ranks(name, scores, delta, level, design, trace))
            case _:
                made.append(_read_off(name, scores, strategy, delta, level, design, trace, seed))
    return tuple(made)


def _by_ranks(
    name: str, scores: Scores, delta: float, level: float, design: Design, trace: EventTrace | None
) -> LowerBound:
    """A bound by exact tests at the ranks that are fixed for it."""
    counts = ranked(scores.inside, scores.outside, _BY_RANKS[name].shares)
    match name:
        case "rank_test":
            return rank_test(counts, delta=delta, level=level, design=design)
        case "gdp":
            return gaussian_by_ranks(counts, delta=delta, level=level, design=design)
        case "accountant_family":
            assert trace is not None
            return accountant_family_by_ranks(counts, trace=trace, delta=delta, level=level, design=design)
        case "per_step":
            assert trace is not None
            return per_step(counts, sigma=trace.sigmas[0], trace=trace, delta=delta, level=level, design=design)
        case _:
            raise AssertionError(name)


def _read_off(
    name: str,
    scores: Scores,
    strategy: Strategy | None,
    delta: float,
    level: float,
    design: Design,
    trace: EventTrace | None,
    seed: int,
) -> LowerBound:
    """A bound on one rectangle, at the threshold that the strategy chooses for this kind of bound."""
    family_free = name in {"clopper_pearson", "bayesian"}
    strategy = strategy or Bonferroni()
    tally, share = best_bound(
        strategy, scores.inside, scores.outside, _objective(delta, family_free), level=level, seed=seed
    )
    match name:
        case "clopper_pearson":
            return clopper_pearson(tally, delta=delta, level=share, design=design)
        case "bayesian":
            return posterior(tally, delta=delta, level=share, design=design)
        case "gdp":
            return gaussian(tally, delta=delta, level=share, design=design)
        case "accountant_family":
            assert trace is not None
            return accountant_family(tally, trace=trace, delta=delta, level=share, design=design)
        case "per_step":
            assert trace is not None
            return per_step(tally, sigma=trace.sigmas[0], trace=trace, delta=delta, level=share, design=design)
        case _:
            raise AssertionError(name)


def _objective(delta: float, family_free: bool) -> Callable[[Tally, float], float]:
    def value(tally: Tally, level: float) -> float:
        rectangle: Rectangle = tally.rectangle(level)
        return clopper_pearson_epsilon(rectangle, delta) if family_free else gaussian_mu(rectangle)

    return value


def _sequential(scores: Scores, delta: float, level: float, design: Design, seed: int) -> LowerBound:
    """Threshold from a random fifth, rounds from the rest."""
    generator = np.random.default_rng(seed)
    inside, outside = generator.permutation(scores.inside), generator.permutation(scores.outside)
    first, second = max(1, len(inside) // 5), max(1, len(outside) // 5)
    if min(len(inside) - first, len(outside) - second) < 1:
        raise UsageError("sequential test: expected at least 2 scores on either side")
    threshold = choose_threshold(inside[:first], outside[:second], _objective(delta, True), level=level, scale=4.0)
    return sequential(inside[first:] > threshold, outside[second:] > threshold, delta=delta, level=level, design=design)
