"""One rectangle of error rates, and the bounds that read it: Clopper-Pearson, Gaussian, posterior.

Notation: FP of n0 trials without the canary were called "in", FN of n1 trials with it were called "out". With one-sided
level a: fpr = UB(FP, n0, a/2), fnr = UB(FN, n1, a/2); both hold at once except with probability a, for a threshold
that does not depend on these trials. Whatever is deduced from the rectangle needs no further share of a.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincc, betaincinv, ndtri
from statsmodels.stats.proportion import proportion_confint

from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.contract import UsageError

from .bound import Design, Family, LowerBound, require_delta, require_level

Floats = NDArray[np.float64]

_NODES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangle:
    """Upper limits of both error rates that hold together except with probability ``level``."""

    fpr: float
    fnr: float
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Errors of one test: ``false_positives`` of ``outside`` trials, ``false_negatives`` of ``inside`` trials.

    Raises:
        UsageError: a count is negative or exceeds its number of trials, or there is no trial.
    """

    false_positives: int
    outside: int
    false_negatives: int
    inside: int

    def __post_init__(self) -> None:
        for errors, trials in ((self.false_positives, self.outside), (self.false_negatives, self.inside)):
            if not (0 <= errors <= trials and trials >= 1):
                raise UsageError(f"tally: expected 0 <= errors <= trials and a trial, got {errors} of {trials}")

    def rectangle(self, level: float) -> Rectangle:
        """Both Clopper-Pearson upper limits, each at half the level."""
        require_level(level)
        return Rectangle(
            fpr=upper_limit(self.false_positives, self.outside, level / 2),
            fnr=upper_limit(self.false_negatives, self.inside, level / 2),
            level=level,
        )

    @property
    def perfect(self) -> "Tally":
        """The same trials without an error."""
        return Tally(false_positives=0, outside=self.outside, false_negatives=0, inside=self.inside)

    @property
    def counts(self) -> dict[str, int]:
        """As plain data."""
        return {
            "false_positives": self.false_positives,
            "outside": self.outside,
            "false_negatives": self.false_negatives,
            "inside": self.inside,
        }


@lru_cache(maxsize=65536)
def upper_limit(errors: int, trials: int, level: float) -> float:
    """One-sided Clopper-Pearson upper limit of a rate; 1 if every trial was an error."""
    if errors >= trials:
        return 1.0
    return float(proportion_confint(errors, trials, alpha=2 * level, method="beta")[1])


def clopper_pearson_epsilon(rectangle: Rectangle, delta: float) -> float:
    """max(0, ln((1 - fnr - delta)/fpr), ln((1 - fpr - delta)/fnr)); both limits are positive by construction."""
    best = 0.0
    for first, second in ((rectangle.fnr, rectangle.fpr), (rectangle.fpr, rectangle.fnr)):
        if 1 - first - delta > 0:
            best = max(best, math.log((1 - first - delta) / second))
    return best


def clopper_pearson(tally: Tally, *, delta: float, level: float, design: Design) -> LowerBound:
    """Family-free. Valid for independent trials and a threshold fixed without looking at them.

    Source: Clopper and Pearson 1934; Kairouz, Oh and Viswanath 2015 for the region of (epsilon, delta)-DP.
    """
    require_delta(delta)
    return LowerBound(
        method="clopper_pearson",
        epsilon=clopper_pearson_epsilon(tally.rectangle(level), delta),
        ceiling=clopper_pearson_epsilon(tally.perfect.rectangle(level), delta),
        delta=delta,
        level=level,
        counts=tally.counts,
        design=design,
        family=Family.NONE,
        valid=design is Design.INDEPENDENT,
    )


def gaussian_mu(rectangle: Rectangle) -> float:
    """Lower limit of mu; clamped at 0, never an absolute value (that would report leakage on null data)."""
    if rectangle.fpr >= 1 or rectangle.fnr >= 1:
        return 0.0
    return max(0.0, float(-ndtri(rectangle.fpr) - ndtri(rectangle.fnr)))


def gaussian(tally: Tally, *, delta: float, level: float, design: Design) -> LowerBound:
    """The smallest Gaussian trade-off curve that the rectangle allows. Source: Nasr et al. 2023, arXiv 2302.07956, section 4."""
    require_delta(delta)
    return LowerBound(
        method="gdp",
        epsilon=gaussian_epsilon(gaussian_mu(tally.rectangle(level)), delta)[0],
        ceiling=gaussian_epsilon(gaussian_mu(tally.perfect.rectangle(level)), delta)[0],
        delta=delta,
        level=level,
        counts=tally.counts,
        design=design,
        family=Family.GAUSSIAN,
        valid=design is Design.INDEPENDENT,
    )


def posterior(tally: Tally, *, delta: float, level: float, design: Design) -> LowerBound:
    """The ``level`` quantile of epsilon under independent Jeffreys posteriors of both rates. Advisory: never valid.

    Source: Zanella-Béguelin et al. 2023, arXiv 2206.05199, section 4. A credible bound has no guaranteed coverage.
    """
    require_level(level)
    require_delta(delta)
    return LowerBound(
        method="bayesian",
        epsilon=_posterior_epsilon(tally, delta, level),
        ceiling=_posterior_epsilon(tally.perfect, delta, level),
        delta=delta,
        level=level,
        counts=tally.counts,
        design=design,
        family=Family.NONE,
        valid=False,
        note="a credible bound: advisory, decides nothing",
    )


def posterior_mass(tally: Tally, delta: float, epsilon: float) -> float:
    """P(epsilon of the true rates <= ``epsilon``) under the posterior: E over FPR of P(FNR >= what epsilon allows)."""
    fpr = _posterior_rates(tally.false_positives, tally.outside)
    least = np.maximum(1 - delta - math.exp(epsilon) * fpr, math.exp(-epsilon) * (1 - delta - fpr))
    a1, b1 = 0.5 + tally.false_negatives, 0.5 + tally.inside - tally.false_negatives
    return float(betaincc(a1, b1, np.clip(least, 0.0, 1.0)).mean())


@lru_cache(maxsize=64)
def _posterior_rates(errors: int, trials: int) -> Floats:
    """Midpoints of the posterior's quantiles."""
    return np.asarray(betaincinv(0.5 + errors, 0.5 + trials - errors, (np.arange(_NODES) + 0.5) / _NODES))


@lru_cache(maxsize=65536)
def _posterior_epsilon(tally: Tally, delta: float, level: float) -> float:
    """Bisection of :func:`posterior_mass`."""
    if posterior_mass(tally, delta, 0.0) >= level:
        return 0.0
    low, high = 0.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if posterior_mass(tally, delta, middle) < level else (low, middle)
    return low
