"""The curve against scikit-learn's, its limits against statsmodels', its bands by counting, and the claim's curve above it."""

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from dpaudit.contract import Cell, EventTrace, UsageError
from dpaudit.empirical.roc import claimed_roc, roc, true_positives_at, two_sided_limits
from dpaudit.empirical.scores import Scores


def drawn(mu: float, count: int, seed: int) -> Scores:
    generator = np.random.default_rng(seed)
    return Scores(inside=generator.normal(mu, 1, count), outside=generator.normal(0, 1, count))


def test_the_area_is_scikit_learns_with_and_without_ties() -> None:
    for scores in (drawn(1.0, 300, 0), Scores(inside=np.array([1.0, 2, 2, 3]), outside=np.array([0.0, 1, 2, 2]))):
        labels = np.concatenate([np.ones(len(scores.inside)), np.zeros(len(scores.outside))])
        expected = roc_auc_score(labels, np.concatenate([scores.inside, scores.outside]))
        assert roc(scores).auc == pytest.approx(expected, abs=1e-12)


def test_the_points_are_thinned_monotone_and_keep_both_ends() -> None:
    found = roc(drawn(1.0, 2_000, 1))
    assert len(found.fpr) <= 120
    assert (found.fpr[0], found.tpr[0], found.fpr[-1], found.tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (np.diff(found.fpr) >= 0).all()
    assert (np.diff(found.tpr) >= 0).all()
    assert ((found.lower <= found.tpr) & (found.tpr <= found.upper)).all()


def test_the_limits_are_clopper_and_pearsons() -> None:
    successes = np.array([0, 1, 7, 19, 20])
    lower, upper = two_sided_limits(successes, 20, 0.05)
    for place, k in enumerate(successes):
        expected = proportion_confint(int(k), 20, alpha=0.05, method="beta")
        assert (lower[place], upper[place]) == pytest.approx(expected, abs=1e-9)


def test_the_bands_cover_the_true_rate() -> None:
    """At a threshold fixed in advance: 1,000 samples, misses at most the binomial band around 5 %."""
    generator, rate, misses = np.random.default_rng(2), 0.2, 0
    for _ in range(1_000):
        lower, upper = two_sided_limits(np.array([generator.binomial(50, rate)]), 50, 0.05)
        misses += not lower[0] <= rate <= upper[0]
    assert misses <= binom.ppf(0.999, 1_000, 0.05)


def test_true_positives_at_a_low_rate_allow_no_more_false_ones() -> None:
    scores = Scores(inside=np.array([5.0, 4, 3, 1]), outside=np.array([4.0, 2, 1, 0]))
    assert true_positives_at(scores, 0.0) == 0.25  # the tie at 4 is a false positive
    assert true_positives_at(scores, 0.25) == 0.75
    assert true_positives_at(scores, 1.0) == 1.0
    with pytest.raises(UsageError, match="rate in"):
        true_positives_at(scores, 1.5)


def test_the_claimed_curve_lies_above_a_true_attack_on_it() -> None:
    """One step at q = 1 is the Gaussian mechanism: the best test attains the curve."""
    trace = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(1.0,))
    found = roc(drawn(1.0, 200_000, 3))
    gap = claimed_roc(trace, found.fpr) - found.tpr
    assert gap.min() > -0.01
    assert gap.max() < 0.02
