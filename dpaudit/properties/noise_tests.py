"""Statistical tests of standardised noise: is it what independent standard normal numbers look like?

Input: residuals ``z`` [calls, coordinates], each meant to be N(0, 1) and independent. Every test returns a p-value under
that hypothesis. The scale is tested in its LOWER tail only: more noise than claimed is no fault. Levels are divided
among the tests by Holm's method, so that a whole battery errs with probability at most alpha.

Calls come in runs: consecutive calls of one object. A short run is repeated with fresh objects, so that the number of calls does
not depend on its length; steps are compared within a run only.

With a known scale every p-value is valid at any sample size: the chi-square and Kolmogorov-Smirnov laws are exact; a
correlation of two coordinates has Student's law (Fisher 1915); products of calls some steps apart have independent fair
signs given their sizes, so that Hoeffding's inequality bounds their sum (Hoeffding 1963, Theorem 2). With an estimated scale
the test of normality (D'Agostino and Pearson 1973) is asymptotic. Holm 1979.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

GATE_ALPHA = 1e-6
"""Level of the gate: the chance that an honest mechanism fails one battery. A finding needs two batteries, fresh seeds."""

_MAX_LAG = 3
_FEW_CALLS = 20
_MAX_PAIRED = 64

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Battery:
    """One round of tests.

    Attributes:
        p_values: by test name.
        rejected: names of the tests that reject at ``alpha`` after Holm's correction.
        samples: how many residuals were tested.
        scale_upper: upper confidence bound (level ``alpha``) on the noise scale, 1 being as claimed; ``inf`` if not tested.
    """

    p_values: Mapping[str, float]
    rejected: tuple[str, ...]
    samples: int
    alpha: float
    scale_upper: float


def known_scale(z: Floats, alpha: float = GATE_ALPHA, *, run_length: int | None = None) -> Battery:
    """The battery for latents whose scale is known: scale, normality, lags, pairs of coordinates.

    Args:
        run_length: calls of each run, one run after the other; by default all calls are one run.

    Raises:
        ValueError: fewer than 20 calls, a value that is not finite, or runs that do not fill the calls.
    """
    _check(z, run_length)
    total = float(np.square(z).sum())
    p_values = {
        "scale (lower tail)": float(stats.chi2.cdf(total, z.size)),
        "normality": float(stats.kstest(z.ravel(), "norm").pvalue),
        **_lags(z, run_length or len(z)),
        **_pairs(z),
    }
    scale = math.sqrt(total / float(stats.chi2.ppf(alpha, z.size)))
    return _battery(p_values, z.size, alpha, scale)


def unknown_scale(residuals: Floats, alpha: float = GATE_ALPHA) -> Battery:
    """The battery for residuals of unknown scale, one scale for each coordinate: shape, lags, pairs.

    Residuals are divided by their sample deviation per coordinate; coordinates that do not move are left out.

    Raises:
        ValueError: as :func:`known_scale`.
    """
    centred = residuals - residuals.mean(axis=0)
    deviation = centred.std(axis=0, ddof=1)
    moving = deviation > 1e-12 * max(1e-300, float(np.abs(residuals).max(initial=0.0)))
    z = centred[:, moving] / deviation[moving]
    if not z.size:
        raise ValueError("noise tests: no coordinate moves")
    _check(z, None)
    p_values = {"normality": float(stats.normaltest(z.ravel()).pvalue), **_lags(z, len(z)), **_pairs(z)}
    return _battery(p_values, z.size, alpha, math.inf)


def confirmed(first: Battery, second: Battery) -> tuple[str, ...]:
    """Tests that reject in both of two batteries with fresh seeds."""
    return tuple(name for name in first.rejected if name in second.rejected)


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Which hypotheses Holm's step-down method rejects, with at most probability ``alpha`` of any false rejection."""
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if not p_values[index] <= alpha / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected


def _lags(z: Floats, run_length: int) -> dict[str, float]:
    """Products of calls 1 to 3 steps apart in a run, pooled over coordinates; by Hoeffding's inequality on their signs."""
    runs = z.reshape(-1, run_length, z.shape[1])
    p_values = {}
    for lag in range(1, min(_MAX_LAG, run_length - 1) + 1):
        products = runs[:, lag:] * runs[:, :-lag]
        score = float(products.sum()) / math.sqrt(float(np.square(products).sum()) or 1.0)
        p_values[f"independence of steps {lag} apart"] = min(1.0, 2 * math.exp(-(score**2) / 2))
    return p_values


def _pairs(z: Floats) -> dict[str, float]:
    """The largest correlation of two coordinates, by Student's law, with a Bonferroni factor for the number of pairs."""
    calls, coordinates = z.shape
    if coordinates < 2:
        return {}
    chosen = z[:, np.linspace(0, coordinates - 1, min(coordinates, _MAX_PAIRED)).astype(int)]
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.atleast_2d(np.corrcoef(chosen, rowvar=False))
    above = np.nan_to_num(correlations[np.triu_indices(chosen.shape[1], 1)], nan=1.0)
    largest = min(float(np.abs(above).max()), 1 - 1e-15)
    score = largest * math.sqrt((calls - 2) / (1 - largest**2))
    return {"independence of coordinates": min(1.0, 2 * float(stats.t.sf(score, calls - 2)) * above.size)}


def _battery(p_values: dict[str, float], samples: int, alpha: float, scale_upper: float) -> Battery:
    names = list(p_values)
    # A p-value that is not a number decides nothing; it must not turn into a pass of the others.
    values = [p_values[name] if p_values[name] == p_values[name] else 1.0 for name in names]
    rejected = tuple(name for name, refused in zip(names, holm(values, alpha), strict=True) if refused)
    return Battery(p_values=p_values, rejected=rejected, samples=samples, alpha=alpha, scale_upper=scale_upper)


def _check(z: Floats, run_length: int | None) -> None:
    if z.ndim != 2 or z.shape[0] < _FEW_CALLS:
        raise ValueError(f"noise tests: expected [calls, coordinates] with at least {_FEW_CALLS} calls, got {z.shape}")
    if not np.isfinite(z).all():
        raise ValueError("noise tests: expected finite residuals")
    if run_length is not None and (run_length < 1 or z.shape[0] % run_length):
        raise ValueError(f"noise tests: expected whole runs of {run_length} calls, got {z.shape[0]} calls")
