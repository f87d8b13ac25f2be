"""The exact tests at ranks: against slow twins, what they gain, and where they give up."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom, norm

from dpaudit.contract import Cell, EventTrace, UsageError
from dpaudit.empirical import Design, bounds_on, checked
from dpaudit.empirical.accountant_family import accountant_family, accountant_family_by_ranks
from dpaudit.empirical.ranks import (
    Ranked,
    budget_curve,
    curve_refuted,
    gaussian_curve,
    largest_epsilon,
    largest_mu,
    p_value,
    rank_test,
    ranked,
)
from dpaudit.empirical.rectangle import Tally
from dpaudit.empirical.thresholds import FAMILY_FREE_SHARES, GAUSSIAN_SHARES, Bonferroni

DELTA = 1e-5


def count(rank: int, outside: int, misses: int, inside: int) -> Ranked:
    return Ranked(rank=rank, outside=outside, false_negatives=misses, inside=inside)


@pytest.mark.parametrize(
    ("seen", "mu"), [(count(8, 20, 3, 20), 1.0), (count(1, 50, 30, 40), 0.5), (count(40, 100, 5, 100), 1.0)]
)
def test_the_p_value_is_the_integral_from_above(seen: Ranked, mu: float) -> None:
    law = beta(seen.rank, seen.outside - seen.rank + 1)

    def weighted(rate: float) -> float:
        return float(law.pdf(rate) * binom.cdf(seen.false_negatives, seen.inside, norm.cdf(norm.isf(rate) - mu)))

    exact = quad(weighted, 0, 1, limit=500, epsabs=1e-14)[0]
    found = p_value(seen, gaussian_curve(mu))
    assert exact <= found * (1 + 1e-6)
    assert found <= exact * 1.15 + 1e-12


def test_small_p_values_stay_above_the_integral_and_close_to_it() -> None:
    seen = count(200, 1000, 20, 1000)
    law = beta(seen.rank, seen.outside - seen.rank + 1)
    rates = law.ppf(np.concatenate([np.linspace(0, 1, 200_001)[1:-1], 1 - np.geomspace(5e-6, 1e-15, 4000)]))
    edges = np.concatenate([[0.0], law.cdf(rates), [1.0]])
    values = binom.cdf(20, 1000, norm.cdf(norm.isf(np.append(rates, 1.0)) - 2.5))
    exact = float((np.diff(edges) * values).sum())
    assert 1e-12 < exact < 1e-4
    assert exact * 0.999 <= p_value(seen, gaussian_curve(2.5)) <= exact * 1.2 + 1e-13


def test_the_p_value_bounds_what_is_simulated_with_ties_and_without() -> None:
    generator = np.random.default_rng(0)
    curve = budget_curve(1.0, 0.0)
    wrong = 1 / (1 + np.exp(1.0))
    for ties in (False, True):
        small = 0
        for _ in range(2000):
            outside = (generator.random(30) < wrong) + (0.0 if ties else 0.5 * generator.random(30))
            inside = (generator.random(30) >= wrong) + (0.0 if ties else 0.5 * generator.random(30))
            (seen,) = ranked(inside, outside, (0.3,))
            small += p_value(seen, curve) <= 0.1
        assert small <= binom.ppf(0.999, 2000, 0.1)


def test_it_shows_more_than_a_rectangle_at_the_same_scores() -> None:
    generator = np.random.default_rng(1)
    scores = checked(generator.normal(0.5, 1, 2500), generator.normal(0, 1, 2500), where="test")
    words = {"delta": DELTA, "level": 0.05, "design": Design.INDEPENDENT}
    exact, free, pearson = bounds_on(scores, methods=("gdp", "rank_test", "clopper_pearson"), **words)  # type: ignore[arg-type]
    (rectangle,) = bounds_on(scores, methods=("gdp",), strategy=Bonferroni(shares=GAUSSIAN_SHARES), **words)  # type: ignore[arg-type]
    assert rectangle.epsilon * 1.05 < exact.epsilon < 2.1
    assert free.epsilon > pearson.epsilon
    assert free.family == "none"
    trace = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(1.0,) * 20)
    counted = ranked(scores.inside, scores.outside, (0.25,))
    (one,) = counted
    as_rectangle = Tally(
        false_positives=one.rank - 1, outside=one.outside, false_negatives=one.false_negatives, inside=one.inside
    )
    told = {"trace": trace, **words}
    assert accountant_family_by_ranks(counted, **told).epsilon > accountant_family(as_rectangle, **told).epsilon  # type: ignore[arg-type]


def test_the_bound_is_where_the_curve_stops_being_refuted() -> None:
    seen = [count(40, 100, 12, 100), count(3, 100, 70, 100)]
    mu, epsilon = largest_mu(seen, 0.05), largest_epsilon(seen, DELTA, 0.05)
    assert curve_refuted(seen, gaussian_curve(mu), 0.05)
    assert not curve_refuted(seen, gaussian_curve(mu * 1.01), 0.05)
    assert curve_refuted(seen, budget_curve(epsilon, DELTA), 0.05)
    assert not curve_refuted(seen, budget_curve(epsilon * 1.01, DELTA), 0.05)


def test_backward_constant_and_single_scores_show_nothing() -> None:
    for inside, outside in (
        (np.zeros(50), np.ones(50)),
        (np.zeros(50), np.zeros(50)),
        (np.ones(1), np.zeros(1)),
    ):
        counts = ranked(inside, outside, FAMILY_FREE_SHARES)
        found = rank_test(counts, delta=DELTA, level=0.05, design=Design.INDEPENDENT)
        assert found.epsilon == 0.0
    assert not rank_test([count(1, 5, 0, 5)], delta=DELTA, level=0.05, design=Design.ONE_RUN).valid
    with pytest.raises(UsageError, match="rank"):
        count(0, 5, 0, 5)
    with pytest.raises(UsageError, match="rank"):
        count(1, 5, 6, 5)
