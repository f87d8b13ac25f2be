"""Exact tests at a threshold that is one of the "out" scores: tighter than a rectangle, at no cost in validity.

Setting: n0 scores without the canary and n1 with it, all independent. The threshold is the k-th largest of the n0, with k
fixed in advance; FN of the n1 lie at or below it.

Statement. If no test does better than the curve f (which falls: the least false negative rate at a false positive rate), then

    P(FN <= x) <= E[ P(Bin(n1, f(A)) <= x) ],    A ~ Beta(k, n0 - k + 1).

Proof. Write the "out" scores as quantiles of independent uniform variables. The rate of "out" scores above the threshold is at
most 1 - U, U the k-th largest of n0 uniforms, and 1 - U ~ Beta(k, n0 - k + 1); equality where the law is continuous. Given the
threshold, FN is binomial with a rate that is at least f of that rate, so at least f(1 - U). Both steps only make FN larger.

The right side is a p-value for f. A rectangle pays for both error rates at once, half of the level each, as if both were at
their worst together; here the false positive rate has a KNOWN law and is averaged over. For a Gaussian curve the loss falls from
1.96 (s0 + s1) to 1.64 sqrt(s0^2 + s1^2), with s0 and s1 the standard errors of both sides. Derived here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv, ndtr, ndtri

from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.contract import UsageError

from .bound import Design, Family, LowerBound, require_delta, require_level

Floats = NDArray[np.float64]
Curve = Callable[[Floats], Floats]
"""False positive rates to the least false negative rates; must not rise."""

_EVEN, _TAIL = 1000, 240
_MOST_MU, _MOST_EPSILON = 20.0, 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """``false_negatives`` of ``inside`` scores are at or below the ``rank``-th largest of ``outside`` scores.

    Raises:
        UsageError: a count lies outside its range.
    """

    rank: int
    outside: int
    false_negatives: int
    inside: int

    def __post_init__(self) -> None:
        if not (1 <= self.rank <= self.outside and 0 <= self.false_negatives <= self.inside and self.inside >= 1):
            raise UsageError(
                f"ranks: expected 1 <= rank <= outside and 0 <= false negatives <= inside, got {self.rank}, {self.outside}, "
                f"{self.false_negatives}, {self.inside}"
            )

    @property
    def perfect(self) -> "Ranked":
        """The same trials without a false negative."""
        return Ranked(rank=self.rank, outside=self.outside, false_negatives=0, inside=self.inside)

    @property
    def counts(self) -> dict[str, int]:
        """As plain data."""
        return {
            "false_positives": self.rank - 1,
            "outside": self.outside,
            "false_negatives": self.false_negatives,
            "inside": self.inside,
        }


def ranked(inside: Floats, outside: Floats, shares: Sequence[float]) -> list[Ranked]:
    """One count for every share: at rank ``1 + share * n0``. Equal ranks count once; shares must be fixed in advance."""
    ordered = np.sort(outside)[::-1]
    places = sorted({min(len(ordered) - 1, int(share * len(ordered))) for share in shares})
    return [
        Ranked(
            rank=place + 1,
            outside=len(ordered),
            false_negatives=int((inside <= ordered[place]).sum()),
            inside=len(inside),
        )
        for place in places
    ]


def p_value(count: Ranked, curve: Curve) -> float:
    """The p-value of the module, from above: every cell of a quantile grid is taken at its worse end."""
    rates, masses = _rates(count.rank, count.outside)
    k, n = count.false_negatives, count.inside
    if k >= n:
        return 1.0
    hit = np.clip(1 - curve(rates), 0.0, 1.0)
    return float(min(1.0, (masses * betainc(n - k, k + 1, hit)).sum()))


def curve_refuted(counts: Sequence[Ranked], curve: Curve, level: float) -> bool:
    """Whether one of the counts refutes the curve; the level is divided among them."""
    return any(p_value(count, curve) <= level / len(counts) for count in counts)


def largest_mu(counts: Sequence[Ranked], level: float) -> float:
    """The largest mu found whose Gaussian curve is refuted; 0 if none."""
    return _largest(lambda mu: curve_refuted(counts, gaussian_curve(mu), level), _MOST_MU)


def largest_epsilon(counts: Sequence[Ranked], delta: float, level: float) -> float:
    """The largest epsilon found whose (epsilon, delta) curve is refuted; 0 if none."""
    return _largest(lambda epsilon: curve_refuted(counts, budget_curve(epsilon, delta), level), _MOST_EPSILON)


def gaussian_curve(mu: float) -> Curve:
    """N(mu, 1) against N(0, 1)."""
    return lambda rates: ndtr(-ndtri(rates) - mu)


def budget_curve(epsilon: float, delta: float) -> Curve:
    """The curve of (epsilon, delta)-DP. Source: Kairouz, Oh and Viswanath 2015."""
    growth = np.exp(epsilon)
    return lambda rates: np.maximum(0.0, np.maximum(1 - delta - growth * rates, (1 - delta - rates) / growth))


def gaussian_by_ranks(counts: Sequence[Ranked], *, delta: float, level: float, design: Design) -> LowerBound:
    """``gdp``: the smallest Gaussian curve that the counts allow."""
    require_level(level)
    require_delta(delta)
    mu, best = largest_mu(counts, level), largest_mu([count.perfect for count in counts], level)
    return LowerBound(
        method="gdp",
        epsilon=gaussian_epsilon(mu, delta)[0],
        ceiling=gaussian_epsilon(best, delta)[0],
        delta=delta,
        level=level,
        counts=_telling(counts, gaussian_curve(mu)).counts,
        design=design,
        family=Family.GAUSSIAN,
        valid=design is Design.INDEPENDENT,
    )


def rank_test(counts: Sequence[Ranked], *, delta: float, level: float, design: Design) -> LowerBound:
    """Family-free: the largest epsilon at which (epsilon, delta)-DP is refuted."""
    require_level(level)
    require_delta(delta)
    epsilon = largest_epsilon(counts, delta, level)
    return LowerBound(
        method="rank_test",
        epsilon=epsilon,
        ceiling=largest_epsilon([count.perfect for count in counts], delta, level),
        delta=delta,
        level=level,
        counts=_telling(counts, budget_curve(epsilon, delta)).counts,
        design=design,
        family=Family.NONE,
        valid=design is Design.INDEPENDENT,
    )


def _telling(counts: Sequence[Ranked], curve: Curve) -> Ranked:
    """The count that speaks most against the curve."""
    return min(counts, key=lambda count: p_value(count, curve))


def _largest(refuted: Callable[[float], bool], most: float) -> float:
    """Bisection: what refutes a value refutes every smaller one."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, most
    while high - low > 1e-4 * max(high, 0.01):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


@lru_cache(maxsize=256)
def _rates(rank: int, outside: int) -> tuple[Floats, Floats]:
    """Upper ends of the cells of Beta(rank, outside - rank + 1), and their masses; finer in the upper tail.

    A small p-value comes from there, so cells shrink geometrically, down to 1e-13; the last one ends at 1.
    """
    even = np.linspace(0.0, 1.0, _EVEN + 1)[:-1]
    tail = 1 - np.geomspace(1 / _EVEN, 1e-13, _TAIL)
    edges = np.concatenate([even, tail[1:], [1.0]])
    rates = np.append(betaincinv(rank, outside - rank + 1, edges[1:-1]), 1.0)
    return rates, np.diff(edges)
