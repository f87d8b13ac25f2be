"""Scores of canaries are joined by identifier without a gap, and the likelihood score is the mixture that it says."""

import math

import numpy as np
import pytest

from dpaudit.contract import DataError, UsageError
from dpaudit.empirical.canary_scores import join_scores, known_noise_scores, likelihood_scores

NAMES = ("a", "b", "c", "d")
COINS = (True, False, True, False)


def join(scored: tuple[str, ...], values: list[float]) -> None:
    join_scores(NAMES, COINS, scored, np.array(values), where="here")


def test_scores_find_their_coins_in_any_order() -> None:
    found = join_scores(NAMES, COINS, ("d", "c", "b", "a"), np.array([4.0, 3.0, 2.0, 1.0]), where="here")
    assert found.inside.tolist() == [1.0, 3.0]
    assert found.outside.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("scored", "values", "words"),
    [
        (("a", "b", "c"), [1.0, 2.0, 3.0], "canary 'd' has no score"),
        (("a", "b", "c", "c"), [1.0, 2.0, 3.0, 4.0], "canary 'c' is scored twice"),
        (NAMES, [1.0, 2.0, 3.0, math.nan], "score of canary 'd' is nan"),
        (NAMES, [1.0, 2.0, 3.0, math.inf], "score of canary 'd' is inf"),
        ((*NAMES, "e"), [1.0, 2.0, 3.0, 4.0, 5.0], "'e', which is no canary"),
        (NAMES, [1.0, 2.0, 3.0], "got 3 scores"),
    ],
)
def test_a_gap_is_an_error_that_names_the_canary(scored: tuple[str, ...], values: list[float], words: str) -> None:
    with pytest.raises(DataError, match=words):
        join(scored, values)


def test_an_identifier_that_occurs_twice_is_an_error() -> None:
    with pytest.raises(DataError, match="occurs twice"):
        join_scores(("a", "a"), (True, False), ("a",), np.array([1.0]), where="here")


def test_the_known_noise_score_is_the_sum_of_log_mixtures() -> None:
    """Slow twin: densities of normals, step by step."""
    generator = np.random.default_rng(0)
    products, norms = generator.normal(size=(3, 5)), generator.uniform(0.5, 1.0, size=(3, 5))
    sigmas, q = generator.uniform(0.5, 2.0, size=5), 0.3
    found = known_noise_scores(products, norms, sampling_probability=q, sigmas=sigmas)
    for canary in range(3):
        total = 0.0
        for step in range(5):
            along, c, s = products[canary, step] / norms[canary, step], norms[canary, step], sigmas[step]
            density = [math.exp(-((along - shift) ** 2) / (2 * s * s)) for shift in (0.0, c)]
            total += math.log(((1 - q) * density[0] + q * density[1]) / density[0])
        assert found[canary] == pytest.approx(total, rel=1e-9)


def test_the_estimated_score_comes_close_to_the_known_one_and_survives_extremes() -> None:
    generator = np.random.default_rng(1)
    canaries, steps, q, sigma = 400, 600, 0.05, 0.7
    norms = np.ones((canaries, steps))
    taken = generator.random((canaries, steps)) < q
    taken[canaries // 2 :] = False
    products = taken + sigma * generator.standard_normal((canaries, steps)) + 5.0  # a level that the batch adds
    estimated = np.sinh(likelihood_scores(products, norms, sampling_probability=q))
    known = known_noise_scores(products - 5.0, norms, sampling_probability=q, sigmas=np.full(steps, sigma))
    assert np.corrcoef(estimated, known)[0, 1] > 0.97
    inside, outside = estimated[: canaries // 2], estimated[canaries // 2 :]
    assert (inside[:, None] > outside[None, :]).mean() > 0.85
    silent = likelihood_scores(taken.astype(float), norms, sampling_probability=q)
    assert np.isfinite(silent).all()
    assert silent[: canaries // 2].min() > silent[canaries // 2 :].max()


def test_wrong_shapes_and_rates_are_refused() -> None:
    with pytest.raises(UsageError, match="one shape"):
        likelihood_scores(np.zeros((2, 3)), np.zeros((2, 4)), sampling_probability=0.5)
    with pytest.raises(UsageError, match="q in"):
        likelihood_scores(np.zeros((2, 3)), np.zeros((2, 3)), sampling_probability=0.0)
