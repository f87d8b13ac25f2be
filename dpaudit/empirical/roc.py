"""The receiver operating characteristic of an attack: points, confidence bands, and true positives at few false ones."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from dpaudit.accounting import tradeoff_curve
from dpaudit.contract import EventTrace, UsageError

from .scores import Scores

Floats = NDArray[np.float64]

LOW_RATES = (0.001, 0.01, 0.1)
"""False positive rates at which the true positive rate is quoted."""
_MOST_POINTS = 120


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Roc:
    """Points of the curve in order of the false positive rate, from (0, 0) to (1, 1).

    Attributes:
        fpr, tpr: ``[k]``, shares of the scores above each threshold.
        lower, upper: ``[k]``, two-sided Clopper-Pearson limits of ``tpr`` at each threshold by itself, at ``level``. They need
            independent scores.
        auc: area under all points, ties counting half.
    """

    fpr: Floats
    tpr: Floats
    lower: Floats
    upper: Floats
    auc: float
    level: float


def roc(scores: Scores, *, level: float = 0.05) -> Roc:
    """The curve of "in where the score is above a threshold", thinned to at most 120 points."""
    inside, outside = np.sort(scores.inside), np.sort(scores.outside)
    thresholds = np.unique(np.concatenate([inside, outside]))[::-1]
    above_in = len(inside) - np.searchsorted(inside, thresholds, side="left")
    above_out = len(outside) - np.searchsorted(outside, thresholds, side="left")
    hits, false = np.concatenate([[0], above_in]), np.concatenate([[0], above_out])
    auc = float(np.trapezoid(hits / len(inside), false / len(outside)))
    kept = _thinned(len(hits))
    hits, false = hits[kept], false[kept]
    lower, upper = two_sided_limits(hits, len(inside), level)
    return Roc(fpr=false / len(outside), tpr=hits / len(inside), lower=lower, upper=upper, auc=auc, level=level)


def two_sided_limits(successes: NDArray[np.int64], trials: int, level: float) -> tuple[Floats, Floats]:
    """Clopper-Pearson limits of a rate, each at half the level. Source: Clopper and Pearson 1934."""
    k = successes.astype(np.float64)
    with np.errstate(invalid="ignore"):
        lower = np.where(k > 0, betaincinv(np.maximum(k, 1), trials - k + 1, level / 2), 0.0)
        upper = np.where(k < trials, betaincinv(k + 1, np.maximum(trials - k, 1), 1 - level / 2), 1.0)
    return lower, upper


def true_positives_at(scores: Scores, rate: float) -> float:
    """The largest true positive rate of a threshold whose false positive rate is at most ``rate``.

    Raises:
        UsageError: the rate lies outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise UsageError(f"roc: expected a rate in [0, 1], got {rate!r}")
    allowed = int(rate * len(scores.outside) + 1e-9)
    if allowed >= len(scores.outside):
        return 1.0
    threshold = np.sort(scores.outside)[::-1][allowed]
    return float((scores.inside > threshold).mean())


def claimed_roc(trace: EventTrace, rates: Floats) -> Floats:
    """The best true positive rate that the trace allows at each false positive rate: no attack is truly above it."""
    return 1.0 - tradeoff_curve(trace, rates, pessimistic=True)


def _thinned(count: int) -> NDArray[np.int64]:
    """Places to keep: closer together at the start, where few false positives are made; both ends always."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    even = np.linspace(0, count - 1, _MOST_POINTS // 2)
    early = np.geomspace(1, count - 1, _MOST_POINTS // 2)
    return np.unique(np.concatenate([even, early]).round().astype(np.int64))
