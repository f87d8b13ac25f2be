"""Where to put the threshold, so that the rectangle it gives stays valid.

A strategy turns two samples of scores into tallies with a level for each; the caller takes the best bound over them
(:class:`MultiSplit`: the median). "In" is called where a score is strictly above the threshold.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import UsageError

from .rectangle import Tally

Floats = NDArray[np.float64]
Objective = Callable[[Tally, float], float]
"""The bound that a tally gives at a level: what a threshold is chosen for."""

FAMILY_FREE_SHARES = (0.0, 0.0025, 0.01, 0.04, 0.1, 0.25)
"""For family-free bounds, which live in the tail."""
GAUSSIAN_SHARES = (0.4,)
"""For Gaussian curves, whose best threshold lies near the middle whatever mu is."""
RUN_SHARES = (0.25, 0.02)
"""For scores of whole runs, whose curve is steep in the tail."""

_CANDIDATES = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """A threshold that was fixed before the scores existed."""

    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Choose on a random part of the scores, test on the rest at the full level."""

    fraction: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiSplit:
    """Several splits, each at half the level; the median of their bounds.

    Valid because twice the median of valid p-values is a valid p-value (Meinshausen, Meier and Bühlmann 2009).
    """

    fraction: float = 0.2
    splits: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bonferroni:
    """Thresholds at ranks of the "out" scores that are fixed in advance; the level is divided by their number.

    ``shares`` are target false positive rates. One share spends the whole level on one threshold.

    Valid although the threshold is one of the scores: the mass beyond the k-th largest of n scores is Beta(k, n-k+1),
    whose upper quantile is the Clopper-Pearson limit for k-1 errors, and the "in" scores are independent of it.
    """

    shares: tuple[float, ...] = FAMILY_FREE_SHARES


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """As :class:`Bonferroni`, with the exact test of :mod:`ranks` in place of a rectangle: tighter, and as valid."""

    shares: tuple[float, ...] = FAMILY_FREE_SHARES


Strategy = Fixed | Split | MultiSplit | Bonferroni
"""How a rectangle comes about. :class:`Ranks` is none of these: it needs no rectangle."""


def best_bound(
    strategy: Strategy, inside: Floats, outside: Floats, objective: Objective, *, level: float, seed: int
) -> tuple[Tally, float]:
    """The tally that carries the bound, and the level at which its bound is to be read.

    The bound of the returned tally at the returned level is a bound at ``level`` over the whole strategy.

    Raises:
        UsageError: too few scores for the strategy.
    """
    match strategy:
        case Fixed(threshold=threshold):
            return tally_at(threshold, inside, outside), level
        case Split(fraction=fraction):
            return _split(inside, outside, objective, fraction, level, np.random.default_rng(seed)), level
        case MultiSplit(fraction=fraction, splits=splits):
            generator = np.random.default_rng(seed)
            tallies = [_split(inside, outside, objective, fraction, level / 2, generator) for _ in range(splits)]
            ordered = sorted(tallies, key=lambda tally: objective(tally, level / 2))
            return ordered[(len(ordered) - 1) // 2], level / 2
        case Bonferroni(shares=shares):
            thresholds = _rank_thresholds(outside, shares)
            share = level / len(thresholds)
            tallies = [tally_at(threshold, inside, outside) for threshold in thresholds]
            return max(tallies, key=lambda tally: objective(tally, share)), share


def tally_at(threshold: float, inside: Floats, outside: Floats) -> Tally:
    """Errors of the test "in where the score is above the threshold"."""
    return Tally(
        false_positives=int((outside > threshold).sum()),
        outside=len(outside),
        false_negatives=int((inside <= threshold).sum()),
        inside=len(inside),
    )


def choose_threshold(inside: Floats, outside: Floats, objective: Objective, *, level: float, scale: float) -> float:
    """The threshold whose bound would be best if its rates held for ``scale`` times as many trials.

    Rates are smoothed by half an error, so that no error in a small sample is not taken for a rate of zero.
    """
    pooled = np.unique(np.concatenate([inside, outside]))
    if len(pooled) > _CANDIDATES:
        # more candidates in both tails, where family-free bounds are decided
        middle = np.linspace(0, len(pooled) - 1, _CANDIDATES // 2).astype(int)
        tail = np.unique(np.geomspace(1, len(pooled) / 2, _CANDIDATES // 4).astype(int))
        pooled = pooled[np.unique(np.concatenate([middle, tail - 1, len(pooled) - tail]))]
    best, chosen = (-math.inf, 0.0), float(np.median(np.concatenate([inside, outside])))
    for threshold in pooled:
        seen = tally_at(float(threshold), inside, outside)
        # where so few trials show nothing at any threshold, the one that separates best
        apart = 1 - seen.false_positives / seen.outside - seen.false_negatives / seen.inside
        value = objective(_extrapolated(seen, scale), level), apart
        if value > best:
            best, chosen = value, float(threshold)
    return chosen


def _extrapolated(tally: Tally, scale: float) -> Tally:
    outside, inside = max(1, round(tally.outside * scale)), max(1, round(tally.inside * scale))
    return Tally(
        false_positives=min(outside, math.ceil((tally.false_positives + 0.5) / (tally.outside + 1) * outside)),
        outside=outside,
        false_negatives=min(inside, math.ceil((tally.false_negatives + 0.5) / (tally.inside + 1) * inside)),
        inside=inside,
    )


def _split(
    inside: Floats, outside: Floats, objective: Objective, fraction: float, level: float, generator: np.random.Generator
) -> Tally:
    if min(len(inside), len(outside)) < 4:
        raise UsageError(
            f"split threshold: expected at least 4 scores on either side, got {len(inside)} in and {len(outside)} out; "
            "fix the threshold in advance instead"
        )
    inside, outside = generator.permutation(inside), generator.permutation(outside)
    first, second = max(1, int(fraction * len(inside))), max(1, int(fraction * len(outside)))
    threshold = choose_threshold(
        inside[:first], outside[:second], objective, level=level, scale=(len(inside) - first) / first
    )
    return tally_at(threshold, inside[first:], outside[second:])


def _rank_thresholds(outside: Floats, shares: tuple[float, ...]) -> list[float]:
    """The score at rank ``1 + share * n`` from the largest, for each share; equal ranks count once."""
    ordered = np.sort(outside)[::-1]
    positions = sorted({min(len(ordered) - 1, int(share * len(ordered))) for share in shares})
    return [float(ordered[position]) for position in positions]
