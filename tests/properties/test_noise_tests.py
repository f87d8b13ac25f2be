"""The statistics: level on true Gaussian noise, power against each fault, and Holm's method against its slow twin."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dpaudit.properties.noise_tests import confirmed, holm, known_scale, unknown_scale

CALLS, COORDINATES = 160, 20


def gaussian(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((CALLS, COORDINATES))


def test_true_noise_is_rejected_no_more_often_than_the_level() -> None:
    """150 seeded batteries at level 5 %: false rejections within the 1e-4 band of the binomial."""
    alpha, runs = 0.05, 150
    limit = stats.binom.ppf(1 - 1e-4, runs, alpha)
    for battery in (known_scale, unknown_scale):
        assert sum(bool(battery(gaussian(seed), alpha).rejected) for seed in range(runs)) <= limit


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        (lambda z: 0.85 * z, "scale (lower tail)"),
        (lambda z: np.sqrt(3) * (2 * stats.norm.cdf(z) - 1), "normality"),
        (lambda z: stats.laplace.ppf(stats.norm.cdf(z)) / np.sqrt(2), "normality"),
        (lambda z: np.clip(z, -1.5, 1.5), "normality"),
        (lambda z: np.cumsum(z, axis=0) / np.sqrt(np.arange(1, len(z) + 1))[:, None], "independence of steps 1 apart"),
        (lambda z: np.concatenate([z[::2], z[::2]]).reshape(2, -1, z.shape[1]).swapaxes(0, 1).reshape(z.shape),
         "independence of steps 1 apart"),
        (lambda z: np.repeat(z[:, :10], 2, axis=1), "independence of coordinates"),
    ],
)  # fmt: skip
def test_each_fault_is_found_twice(fault, test) -> None:  # type: ignore[no-untyped-def]
    first, second = (known_scale(fault(gaussian(seed))) for seed in (1, 2))
    assert test in confirmed(first, second)


def test_more_noise_is_no_fault() -> None:
    assert "scale (lower tail)" not in known_scale(1.5 * gaussian(3)).rejected


def test_the_upper_bound_on_the_scale_covers_it() -> None:
    for seed in range(100):
        assert known_scale(0.8 * gaussian(seed)).scale_upper >= 0.8


def test_a_finding_needs_both_rounds() -> None:
    good, bad = known_scale(gaussian(1)), known_scale(0.5 * gaussian(2))
    assert confirmed(good, bad) == ()
    assert confirmed(bad, bad) != ()


def test_holm_equals_statsmodels() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 2, 5, 12):
        for _ in range(50):
            p_values = (generator.random(size) ** 4).tolist()
            assert holm(p_values, 0.05) == multipletests(p_values, alpha=0.05, method="holm")[0].tolist()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 calls"):
        known_scale(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        known_scale(np.full((30, 2), np.nan))
    with pytest.raises(ValueError, match="no coordinate moves"):
        unknown_scale(np.ones((30, 2)))
