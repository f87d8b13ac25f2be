"""Every bound by name: at null and at true values it exceeds the truth no more often than its level allows.

``COVERAGE`` has, for each method, the chance events of one audit: each draws scores at a known truth with the given generator
and says whether the bound, with its own thresholds and shares of the level, lies above the truth. A bound without an entry fails
the first test. Where inverting a bound 1,000 times is dear, the event is "the truth itself is refuted", which the bound lying
above it implies.
"""

import ast
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

import dpaudit.empirical
from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.contract import Cell, EventTrace
from dpaudit.empirical import METHODS, Design, Scores, bounds_on, checked
from dpaudit.empirical.accountant_family import accountant_inverse, most_right_pairs, trace_curve
from dpaudit.empirical.model import simulated_scores
from dpaudit.empirical.one_run import Guesses, curve_refuted, gaussian_inverse, tries
from dpaudit.empirical.order_statistics import _refuted, coined
from dpaudit.empirical.ranks import budget_curve, gaussian_curve, ranked
from dpaudit.empirical.ranks import curve_refuted as curve_refuted_by_ranks
from dpaudit.empirical.rectangle import Tally, posterior_mass
from dpaudit.empirical.sequential import PairWealth, paired_free
from dpaudit.empirical.thresholds import (
    FAMILY_FREE_SHARES,
    GAUSSIAN_SHARES,
    RUN_SHARES,
    Fixed,
    Strategy,
    _rank_thresholds,
    tally_at,
)

RUNS, LEVEL, DELTA = 1000, 0.05, 1e-3
MUS = (0.0, 0.7, 2.0)
TRACE = EventTrace(cell=Cell(), sampling_probability=0.2, sigmas=(1.0,) * 10)
SCORES = 80
Event = Callable[[np.random.Generator], bool]


def gaussian_scores(generator: np.random.Generator, mu: float, *, coins: bool) -> Scores:
    """``coins``: one run's canaries, each in or out by a fair coin; else fixed counts of independent trials."""
    member = generator.random(SCORES) < 0.5 if coins else np.arange(SCORES) % 2 == 0
    score = generator.normal(0, 1, SCORES) + mu * member
    return checked(score[member], score[~member], where="coverage")


def response_scores(generator: np.random.Generator, epsilon: float, *, coins: bool) -> Scores:
    """The worst case of (epsilon, delta)-DP: with probability delta the truth, else randomised response."""
    member = generator.random(SCORES) < 0.5 if coins else np.arange(SCORES) % 2 == 0
    lies = generator.random(SCORES) < (1 - DELTA) / (1 + np.exp(epsilon))
    score = np.where(member ^ lies, 1.0, -1.0)
    return checked(score[member], score[~member], where="coverage")


def printed(
    method: str,
    truth: float,
    draw: Callable[[np.random.Generator], Scores],
    design: Design,
    strategy: Strategy | None = None,
) -> Event:
    """The bound as the command prints it."""

    def event(generator: np.random.Generator) -> bool:
        seed = int(generator.integers(2**31))
        (bound,) = bounds_on(
            draw(generator), delta=DELTA, level=LEVEL, design=design, methods=(method,), strategy=strategy, seed=seed
        )
        return bound.epsilon > truth + 1e-9

    return event


def on_gaussians(method: str, *, coins: bool) -> dict[str, Event]:
    design = Design.ONE_RUN if coins else Design.INDEPENDENT
    return {
        f"mu {mu:g}": printed(
            method, gaussian_epsilon(mu, DELTA)[0], lambda g, mu=mu: gaussian_scores(g, mu, coins=coins), design
        )
        for mu in MUS
    }


def on_responses(method: str, *, coins: bool) -> dict[str, Event]:
    design = Design.ONE_RUN if coins else Design.INDEPENDENT
    return {
        f"epsilon {epsilon:g}": printed(
            method,
            epsilon,
            lambda g, epsilon=epsilon: response_scores(g, epsilon, coins=coins),
            design,
            Fixed(threshold=0),
        )
        for epsilon in (0.0, 1.0, 3.0)
    }


def ranks_event(mu: float) -> Event:
    """The Gaussian curve of the truth is refuted at the ranks of ``gdp`` and ``per_step``."""

    def event(generator: np.random.Generator) -> bool:
        scores = gaussian_scores(generator, mu, coins=False)
        return curve_refuted_by_ranks(ranked(scores.inside, scores.outside, GAUSSIAN_SHARES), gaussian_curve(mu), LEVEL)

    return event


def rank_test_event(epsilon: float, *, ties: bool) -> Event:
    """On the worst case of (epsilon, delta)-DP; without ties the level is spent to the full."""

    def event(generator: np.random.Generator) -> bool:
        scores = response_scores(generator, epsilon, coins=False)
        inside, outside = (
            side if ties else side + generator.random(len(side)) for side in (scores.inside, scores.outside)
        )
        counts = ranked(inside, outside, FAMILY_FREE_SHARES)
        return curve_refuted_by_ranks(counts, budget_curve(epsilon, DELTA), LEVEL)

    return event


def order_statistics_event(mu: float) -> Event:
    def event(generator: np.random.Generator) -> bool:
        scores = gaussian_scores(generator, mu, coins=False)
        tried = tries(*coined(scores.inside, scores.outside, int(generator.integers(2**31))))
        return any(_refuted(found, mu, LEVEL / len(tried), seed=3) for found in tried)

    return event


def posterior_event(epsilon: float) -> Event:
    """A credible bound promises no coverage; what it has is measured here, at the threshold of the worst case."""

    @cache
    def mass(tally: Tally) -> float:
        return posterior_mass(tally, DELTA, epsilon)

    def event(generator: np.random.Generator) -> bool:
        scores = response_scores(generator, epsilon, coins=False)
        return mass(tally_at(0.0, scores.inside, scores.outside)) < LEVEL

    return event


def posterior_at_ranks_event(mu: float) -> Event:
    """At the thresholds that the command uses: the bound lies above the truth only if one posterior puts its share below it."""
    truth = gaussian_epsilon(mu, DELTA)[0]

    @cache
    def mass(tally: Tally) -> float:
        return posterior_mass(tally, DELTA, truth)

    def event(generator: np.random.Generator) -> bool:
        scores = gaussian_scores(generator, mu, coins=False)
        thresholds = _rank_thresholds(scores.outside, FAMILY_FREE_SHARES)
        tallies = [tally_at(at, scores.inside, scores.outside) for at in thresholds]
        return any(mass(tally) < LEVEL / len(tallies) for tally in tallies)

    return event


def trace_scores(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[audits, scores] of whole runs of the trace, with the canary and without."""
    inside, outside = simulated_scores(TRACE, runs=RUNS * SCORES, seed=seed)
    return inside.reshape(RUNS, SCORES), outside.reshape(RUNS, SCORES)


def one_run_accountant_event(null: bool) -> Event:
    inside, outside = trace_scores(11)
    inverse, audit = accountant_inverse(TRACE), iter(range(RUNS))

    def event(generator: np.random.Generator) -> bool:
        index = next(audit)
        member = generator.random(SCORES) < 0.5
        loud = outside[index] if null else inside[index]
        tried = tries(loud[member], outside[index][~member])
        return any(curve_refuted(found, inverse, LEVEL / len(tried)) for found in tried)

    return event


def accountant_family_event(null: bool) -> Event:
    inside, outside = trace_scores(12)
    rates = np.linspace(0.0, 1.0, 2001)
    betas = trace_curve(TRACE)(rates)

    def curve(alphas: np.ndarray) -> np.ndarray:
        return np.interp(alphas, rates, betas)  # convex, so not below the curve: refutes no less often

    audit = iter(range(RUNS))

    def event(generator: np.random.Generator) -> bool:
        index = next(audit)
        loud = generator.permutation(outside[index - 1]) if null else inside[index]
        return curve_refuted_by_ranks(ranked(loud, outside[index], RUN_SHARES), curve, LEVEL)

    return event


def pairs_event(free: bool) -> Event:
    """At the highest rate that the truth allows; looked at after every pair."""
    rate = (1 - (1 - DELTA) / (1 + np.exp(2.0))) ** 2 if free else most_right_pairs(TRACE)

    def event(generator: np.random.Generator) -> bool:
        right = generator.random(60) < rate
        if free:
            bound = paired_free(right, delta=DELTA, level=LEVEL, design=Design.INDEPENDENT, counts={"inside": 60})
            return bound.epsilon > 2.0
        wealth = PairWealth.against(most_right=rate, level=LEVEL)
        wealth.update(right)
        return wealth.refuted

    return event


COVERAGE: dict[str, dict[str, Event]] = {
    "clopper_pearson": {**on_gaussians("clopper_pearson", coins=False), **on_responses("clopper_pearson", coins=False)},
    "bayesian": {"epsilon 0": posterior_event(0.0), **{f"mu {mu:g}": posterior_at_ranks_event(mu) for mu in MUS}},
    "gdp": {f"mu {mu:g}": ranks_event(mu) for mu in MUS},
    "rank_test": {
        f"epsilon {epsilon:g}{', ties' if ties else ''}": rank_test_event(epsilon, ties=ties)
        for epsilon in (0.0, 1.0, 3.0)
        for ties in (False, True)
    },
    "sequential": on_responses("sequential", coins=False),
    "steinke": {**on_gaussians("steinke", coins=True), **on_responses("steinke", coins=True)},
    "one_run_fdp": on_gaussians("one_run_fdp", coins=True),
    "order_statistics": {f"mu {mu:g}": order_statistics_event(mu) for mu in MUS},
    "accountant_family": {"null": accountant_family_event(True), "truth": accountant_family_event(False)},
    "one_run_fdp_accountant": {"null": one_run_accountant_event(True), "truth": one_run_accountant_event(False)},
    "per_step": {f"mu {mu:g}": ranks_event(mu) for mu in (0.0, 1.0)},
    "sequential_pairs": {"accountant": pairs_event(False), "free": pairs_event(True)},
}
NOT_A_BOUND = {"model"}
"""Forecasts, which are marked invalid and decide nothing."""


def named_in_the_source() -> set[str]:
    """Every ``method="..."`` of a LowerBound in the package, and every name that the command knows."""
    found = set(METHODS)
    for path in Path(dpaudit.empirical.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "method" and isinstance(node.value, ast.Constant):
                found.add(str(node.value.value))
    return found - {""}


def test_every_bound_has_a_coverage_case() -> None:
    assert named_in_the_source() - NOT_A_BOUND - {"beta"} == set(COVERAGE)


@pytest.mark.parametrize(("method", "case"), [(method, case) for method, cases in COVERAGE.items() for case in cases])
def test_coverage(method: str, case: str) -> None:
    event, generator = COVERAGE[method][case], np.random.default_rng(sum(map(ord, method + case)))
    above = sum(event(generator) for _ in range(RUNS))
    assert above <= binom.ppf(0.999, RUNS, LEVEL), f"{above} of {RUNS} bounds above the truth at level {LEVEL}"


def test_the_posterior_does_not_cover_in_the_worst_case_and_so_is_never_valid() -> None:
    # both directions of (epsilon, delta)-DP bind there, and the prior weighs rates near 0 up: about four times the level
    event, generator = posterior_event(3.0), np.random.default_rng(5)
    assert sum(event(generator) for _ in range(RUNS)) > binom.ppf(0.999, RUNS, LEVEL)
    scores = response_scores(generator, 3.0, coins=False)
    for design in Design:
        (bound,) = bounds_on(scores, delta=DELTA, level=LEVEL, design=design, methods=("bayesian",))
        assert not bound.valid


def test_one_draw_of_the_loss_for_a_whole_run_breaks_the_order_statistics_and_not_the_recursion() -> None:
    # every bit, given all others, has exactly the curve of N(mu, 1); the losses are large together
    mu, bits, wrong_order, wrong_recursion = 1.0, 200, 0, 0
    generator = np.random.default_rng(8)
    for _ in range(400):
        loss = abs(generator.normal(mu * mu / 2, mu))
        right = int((generator.random(bits) < 1 / (1 + np.exp(-loss))).sum())
        found = Guesses(canaries=bits, guessed=bits, correct=right)
        wrong_order += _refuted(found, mu, LEVEL, seed=3)
        wrong_recursion += curve_refuted(found, gaussian_inverse(mu), LEVEL)
    assert wrong_order > 5 * LEVEL * 400
    assert wrong_recursion <= binom.ppf(0.999, 400, LEVEL)
