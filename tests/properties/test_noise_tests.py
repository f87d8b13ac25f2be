"""The statistics: level on true Gaussian noise, power against each fault, and Holm's method against its slow twin."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from dpaudit.properties.noise_tests import confirmed, holm, known_scale, unknown_scale

CALLS, COORDINATES = 160, 20


def gaussian(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((CALLS, COORDINATES))


@pytest.mark.parametrize("run_length", [1, 7, None])
def test_true_noise_is_rejected_no_more_often_than_the_level(run_length: int | None) -> None:
    """1,000 seeded batteries at level 5 % for every length of run: false rejections within the 1e-6 band of the binomial."""
    alpha, batteries, calls = 0.05, 1000, 42 if run_length == 7 else 40
    limit = stats.binom.ppf(1 - 1e-6, batteries, alpha)
    rng = np.random.default_rng(run_length or 0)
    rejected = sum(
        bool(known_scale(rng.standard_normal((calls, 5)), alpha, run_length=run_length).rejected)
        for _ in range(batteries)
    )
    assert 0 < rejected <= limit


def test_each_p_value_is_valid_by_itself() -> None:
    """The share of 2,000 p-values below a level exceeds it by no more than the binomial's 1e-6 band, at two levels."""
    rng, batteries = np.random.default_rng(9), 2000
    found = [known_scale(rng.standard_normal((40, 5)), run_length=4).p_values for _ in range(batteries)]
    assert len(found[0]) == 6
    for name in found[0]:
        values = np.array([p_values[name] for p_values in found])
        for level in (0.01, 0.1):
            assert np.count_nonzero(values <= level) <= stats.binom.ppf(1 - 1e-6, batteries, level), name


def test_noise_of_unknown_scale_is_rejected_about_as_often_as_the_level() -> None:
    """Its test of normality is asymptotic: 1,000 batteries, twice the level allowed."""
    rng, alpha, batteries = np.random.default_rng(4), 0.05, 1000
    rejected = sum(bool(unknown_scale(rng.standard_normal((160, 5)), alpha).rejected) for _ in range(batteries))
    assert rejected <= stats.binom.ppf(1 - 1e-6, batteries, 2 * alpha)


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


def test_steps_are_compared_within_a_run_only() -> None:
    """The first call of every run repeats the last one of the run before: no fault inside any run."""
    z = gaussian(5)
    z[4::4] = z[3:-1:4]
    assert "independence of steps 1 apart" in known_scale(z).rejected
    assert "independence of steps 1 apart" not in known_scale(z, run_length=4).p_values or (
        known_scale(z, run_length=4).p_values["independence of steps 1 apart"] > 1e-3
    )
    assert not any("steps" in name for name in known_scale(z, run_length=1).p_values)


def test_noise_repeated_in_every_run_is_found() -> None:
    """Runs that all have the same noise: too few distinct values for any test of shape, whatever their length."""
    for length in (1, 2, 8):
        first, second = (np.tile(gaussian(seed)[:length], (CALLS // length, 1)) for seed in (1, 2))
        assert confirmed(known_scale(first, run_length=length), known_scale(second, run_length=length))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="whole runs of 7 calls"):
        known_scale(np.zeros((40, 2)), run_length=7)
    with pytest.raises(ValueError, match="at least 20 calls"):
        known_scale(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="finite"):
        known_scale(np.full((30, 2), np.nan))
    with pytest.raises(ValueError, match="no coordinate moves"):
        unknown_scale(np.ones((30, 2)))
