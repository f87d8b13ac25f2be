"""Coverage: at null and at true values, every bound exceeds the truth no more often than its level allows.

The band is the upper 99.9 % quantile of the binomial law at the level. Outcomes repeat, so each distinct one is bounded once.
"""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.contract import Cell, EventTrace
from dpaudit.empirical.accountant_family import refutes
from dpaudit.empirical.model import simulated_scores
from dpaudit.empirical.one_run import Guesses, curve_refuted, gaussian_inverse, guess, one_run_mu, steinke_p_value
from dpaudit.empirical.order_statistics import _refuted
from dpaudit.empirical.rectangle import Tally, clopper_pearson_epsilon, gaussian_mu
from dpaudit.empirical.sequential import PairWealth, Wealth
from dpaudit.empirical.thresholds import Bonferroni, MultiSplit, Split, Strategy, best_bound, tally_at

RUNS = 1000
LEVEL = 0.05
GAUSSIAN_MUS = (0.0, 0.5, 2.0)


def band(runs: int = RUNS, level: float = LEVEL) -> int:
    return int(binom.ppf(0.999, runs, level))


def violations(outcomes: "Counter[object]", violated: Callable[[object], bool]) -> int:
    return sum(count for outcome, count in outcomes.items() if violated(outcome))


def tallies(mu: float, *, trials: int = 120, threshold: float = 0.6, seed: int = 1) -> "Counter[object]":
    generator = np.random.default_rng(seed)
    found: Counter[object] = Counter()
    for _ in range(RUNS):
        found[tally_at(threshold, generator.normal(mu, 1, trials), generator.normal(0, 1, trials))] += 1
    return found


@pytest.mark.parametrize("mu", GAUSSIAN_MUS)
def test_gaussian_mu(mu: float) -> None:
    def violated(outcome: object) -> bool:
        assert isinstance(outcome, Tally)
        return gaussian_mu(outcome.rectangle(LEVEL)) > mu

    assert violations(tallies(mu), violated) <= band()


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
def test_clopper_pearson_on_randomised_response(epsilon: float) -> None:
    # the worst case of (epsilon, delta)-DP: with probability delta the truth, else randomised response
    delta, generator = 1e-2, np.random.default_rng(2)
    wrong = (1 - delta) / (1 + np.exp(epsilon))
    found: Counter[object] = Counter()
    for _ in range(RUNS):
        fp, fn = generator.binomial(150, wrong, 2)
        found[Tally(false_positives=int(fp), outside=150, false_negatives=int(fn), inside=150)] += 1

    def violated(outcome: object) -> bool:
        assert isinstance(outcome, Tally)
        return clopper_pearson_epsilon(outcome.rectangle(LEVEL), delta) > epsilon + 1e-12

    assert violations(found, violated) <= band()


@pytest.mark.parametrize("strategy", [Split(), MultiSplit(splits=3), Bonferroni(), Bonferroni(shares=(0.3,))])
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_threshold_strategies(strategy: Strategy, mu: float) -> None:
    runs = 300 if isinstance(strategy, MultiSplit) else RUNS
    generator = np.random.default_rng(3)
    bad = 0
    for seed in range(runs):
        inside, outside = generator.normal(mu, 1, 50), generator.normal(0, 1, 50)
        tally, level = best_bound(
            strategy, inside, outside, lambda t, a: gaussian_mu(t.rectangle(a)), level=LEVEL, seed=seed
        )
        bad += gaussian_mu(tally.rectangle(level)) > mu
    assert bad <= band(runs)


def one_run_guesses(mu: float, *, canaries: int, guessed: int, seed: int) -> "Counter[object]":
    generator = np.random.default_rng(seed)
    found: Counter[object] = Counter()
    for _ in range(RUNS):
        member = generator.random(canaries) < 0.5
        scores = generator.normal(0, 1, canaries) + mu * member
        found[guess(scores[member], scores[~member], guessed=guessed)] += 1
    return found


@pytest.mark.parametrize("mu", GAUSSIAN_MUS)
@pytest.mark.parametrize("guessed", [30, 200])
def test_one_run_curve(mu: float, guessed: int) -> None:
    def violated(outcome: object) -> bool:
        assert isinstance(outcome, Guesses)
        return curve_refuted(outcome, gaussian_inverse(mu), LEVEL)

    assert violations(one_run_guesses(mu, canaries=200, guessed=guessed, seed=4), violated) <= band()


@pytest.mark.parametrize("mu", GAUSSIAN_MUS)
def test_order_statistics_on_independent_releases(mu: float) -> None:
    def violated(outcome: object) -> bool:
        assert isinstance(outcome, Guesses)
        return _refuted(outcome, mu, LEVEL, seed=9)

    assert violations(one_run_guesses(mu, canaries=200, guessed=40, seed=5), violated) <= band()


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-3])
def test_steinke(epsilon: float, delta: float) -> None:
    generator = np.random.default_rng(6)
    right = delta + (1 - delta) / (1 + np.exp(-epsilon))
    counts = Counter(generator.binomial(100, right, RUNS).tolist())
    bad = sum(
        times
        for correct, times in counts.items()
        if steinke_p_value(Guesses(canaries=100, guessed=100, correct=correct), epsilon, delta) <= LEVEL
    )
    assert bad <= band()


@pytest.mark.parametrize("sigma", [0.6, 1.5])
def test_accountant_family_on_composed_runs(sigma: float) -> None:
    trace = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(sigma,) * 20)
    inside, outside = simulated_scores(trace, runs=RUNS * 60, seed=7)
    found = Counter(
        tally_at(0.3, one, two) for one, two in zip(np.split(inside, RUNS), np.split(outside, RUNS), strict=True)
    )
    bad = sum(times for tally, times in found.items() if refutes(tally.rectangle(LEVEL), trace))
    assert bad <= band()


def test_sequential_test_looked_at_after_every_round() -> None:
    epsilon, runs, level = 1.0, RUNS, 0.1
    generator = np.random.default_rng(8)
    wrong = 1 / (1 + np.exp(epsilon))
    bad = 0
    for _ in range(runs):
        wealth = Wealth.against(epsilon=epsilon, delta=0.0, level=level)
        wealth.update(generator.random(60) >= wrong, generator.random(60) < wrong)
        bad += wealth.refuted
    assert bad <= band(runs, level)


def test_pair_test_looked_at_after_every_pair() -> None:
    generator = np.random.default_rng(9)
    bad = 0
    for _ in range(RUNS):
        wealth = PairWealth.against(most_right=0.4, level=LEVEL)
        wealth.update(generator.random(80) < 0.4)
        bad += wealth.refuted
    assert bad <= band()


def test_a_search_for_mu_ends_where_the_curve_stops_being_refuted() -> None:
    found = Guesses(canaries=300, guessed=60, correct=55)
    mu = one_run_mu(found, LEVEL)
    assert 0 < mu < 20
    assert curve_refuted(found, gaussian_inverse(mu), LEVEL)
    assert not curve_refuted(found, gaussian_inverse(mu * 1.01), LEVEL)
