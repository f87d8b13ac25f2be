"""What one run with m canaries could show, before it is trained."""

import numpy as np
import pytest

from dpaudit.contract import Cell, EventTrace, UsageError
from dpaudit.empirical import Design, canaries_needed, plan_canaries
from dpaudit.empirical.accountant_family import refutes
from dpaudit.empirical.one_run import GUESS_SHARES, Guesses, guess_sizes, steinke
from dpaudit.empirical.rectangle import Tally
from dpaudit.empirical.sequential import PairWealth, most_right_under, paired_free

DELTA, LEVEL = 1e-5, 0.05
TRACE = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(1.0,) * 20)


def test_one_canary_fewer_than_needed_cannot_show_the_target() -> None:
    needed = canaries_needed(3.0, DELTA, LEVEL)
    assert needed is not None
    for canaries, above in ((needed - 1, False), (needed, True)):
        tried = [Guesses(canaries=canaries, guessed=size, correct=size) for size in guess_sizes(canaries)]
        while len(tried) < len(GUESS_SHARES):  # equal sizes count once, but the plan divides the level by all shares
            tried.append(tried[0])
        assert (steinke(tried, delta=DELTA, level=LEVEL, design=Design.ONE_RUN).epsilon > 3.0) is above
    assert canaries_needed(60.0, DELTA, LEVEL) is None


def test_a_plan_has_a_row_for_each_bound_that_may_reject() -> None:
    rows = plan_canaries(TRACE, canaries=200, epsilon=3.0, delta=DELTA, level=LEVEL, simulate=True)
    assert [row.method for row in rows] == ["steinke", "one_run_fdp_accountant"]
    for row in rows:
        assert row.expected is not None
        assert row.ceiling > row.expected >= 0
    with pytest.raises(UsageError, match="2 canaries"):
        plan_canaries(TRACE, canaries=1, epsilon=3.0, delta=DELTA, level=LEVEL, simulate=False)


def test_the_rate_of_right_pairs_under_a_budget_is_that_of_a_grid() -> None:
    epsilon, delta = 1.3, 1e-3
    alpha = np.linspace(0, 1, 200_001)
    beta = np.maximum.reduce([0 * alpha, 1 - delta - np.exp(epsilon) * alpha, np.exp(-epsilon) * (1 - delta - alpha)])
    assert most_right_under(epsilon, delta) == pytest.approx(float(((1 - alpha) * (1 - beta)).max()), rel=1e-4)


def test_pairs_refute_by_the_family_free_test_what_their_bound_says() -> None:
    right = np.arange(200) % 20 != 0
    bound = paired_free(right, delta=0.0, level=1e-6, design=Design.INDEPENDENT, counts={})
    assert 0 < bound.epsilon < bound.ceiling
    wealth = PairWealth.against(most_right=most_right_under(bound.epsilon, 0.0), level=1e-6)
    wealth.update(right)
    assert wealth.refuted


def test_hopeless_is_said_of_wealth_that_does_not_grow_and_not_of_a_perfect_attack() -> None:
    lost, won = (PairWealth.against(most_right=0.5, level=1e-6) for _ in range(2))
    assert not lost.hopeless(0, 60)
    lost.update(np.arange(20) % 2 == 0)
    won.update(np.ones(20, dtype=bool))
    assert lost.hopeless(20, 60)
    assert not won.hopeless(20, 60)


def test_shuffled_runs_lie_below_the_poisson_curve_at_sigma_one_half() -> None:
    # the model alone: one epoch of five batches, rates of the likelihood ratio that Poisson sampling suggests
    steps, q, mu, runs = 5, 0.2, 2.0, 40_000
    generator = np.random.default_rng(0)
    inside, outside = (generator.standard_normal((runs, steps)) for _ in range(2))
    inside[np.arange(runs), generator.integers(0, steps, runs)] += mu
    scores = [np.log1p(q * np.expm1(mu * z - mu * mu / 2)).sum(axis=1) for z in (inside, outside)]
    threshold = float(np.quantile(scores[1], 0.7))
    seen = Tally(
        false_positives=int((scores[1] > threshold).sum()),
        outside=runs,
        false_negatives=int((scores[0] <= threshold).sum()),
        inside=runs,
    )
    poisson = EventTrace(cell=Cell(), sampling_probability=q, sigmas=(1 / mu,) * steps)
    assert refutes(seen.rectangle(1e-6), poisson)
