"""From what a run released to one score a canary, joined to its coin by identifier.

Notation: m canaries, T steps, q the sampling probability, c_jt the norm of canary j's clipped gradient at step t.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError, UsageError

from .scores import Scores, checked

Floats = NDArray[np.float64]

_PIECES = 8
"""Parts of the run in which the level and the scale of a canary's products are taken to be constant."""
_MAD_TO_STD = 1.4826
_MEDIAN_VARIANCE = 1.571
"""pi/2: variance of a median of n normal values, times n over theirs."""
_LOG_MAD_VARIANCE = 1.361
"""Variance of the logarithm of a median absolute deviation of n normal values, times n (efficiency 0.367)."""
_SMALLEST = 1e-9


def join_scores(
    identifiers: Sequence[str], included: Sequence[bool], scored: Sequence[str], values: Floats, *, where: str
) -> Scores:
    """Scores of all canaries, each with its coin.

    Guarantee: every canary of ``identifiers`` has exactly one finite score and there is no other; a canary left out would
    bias the audit.

    Args:
        identifiers, included: the canaries of the run and their coins.
        scored, values: identifiers with their scores, larger = "in", in any order.

    Raises:
        DataError: a score is missing, repeated, of no canary, NaN or infinite; the canary is named.
    """
    if len(scored) != len(values) or len(identifiers) != len(included):
        raise DataError(
            f"{where}: expected one score an identifier and one coin a canary, got {len(values)} scores for "
            f"{len(scored)} identifiers and {len(included)} coins for {len(identifiers)} canaries"
        )
    found: dict[str, float] = {}
    for name, value in zip(scored, values.tolist(), strict=True):
        if name in found:
            raise DataError(f"{where}: canary {name!r} is scored twice, expected one score")
        if not np.isfinite(value):
            raise DataError(f"{where}: the score of canary {name!r} is {value}, expected a finite number")
        found[name] = value
    coins = dict(zip(identifiers, included, strict=True))
    if len(coins) != len(identifiers):
        raise DataError(f"{where}: a canary's identifier occurs twice, expected each once")
    for name in coins:
        if name not in found:
            raise DataError(f"{where}: canary {name!r} has no score; one that is left out would bias the audit")
    for name in found:
        if name not in coins:
            raise DataError(f"{where}: there is a score for {name!r}, which is no canary of this run")
    inside = np.array([found[name] for name, coin in coins.items() if coin])
    outside = np.array([found[name] for name, coin in coins.items() if not coin])
    return checked(inside, outside, where=where)


def likelihood_scores(
    products: Floats, norms: Floats, *, sampling_probability: float, groups: NDArray[np.int64] | None = None
) -> Floats:
    """``[m]``: the log-likelihood ratio of "in" against "out", summed over the steps, on an inverse hyperbolic sine scale.

    That scale keeps order and sign and draws in the tails, which reach tens of thousands where there is little noise.
    Given that it is out, a canary's product at a step is taken as normal with a level and a spread of its own in each eighth
    of the run; given that it is in, it is with probability q larger by c^2. Level and spread are the canary's own median and
    median deviation, drawn towards those of its group as far as the group's differences are mere estimation error
    (empirical Bayes): a canary's own level, taken at face value, would swallow the shift that is looked for. Any score
    is valid, since none looks at the coins; this one comes close to the best test where the batch behaves like noise.

    Args:
        products: ``[m, T]``, released update (as a sum over rows) times clipped canary gradient.
        norms: ``[m, T]``, of that gradient.
        groups: ``[m]``, canaries of one kind; by default all are of one.

    Raises:
        UsageError: shapes differ, or q lies outside (0, 1].
    """
    if products.shape != norms.shape or products.ndim != 2 or not 0 < sampling_probability <= 1:
        raise UsageError(
            f"canary scores: expected products and norms of one shape [m, T] and q in (0, 1], got {products.shape}, "
            f"{norms.shape} and {sampling_probability!r}"
        )
    kinds = np.zeros(len(products), dtype=np.int64) if groups is None else groups
    total = np.zeros(len(products))
    for kind in np.unique(kinds):
        mine = kinds == kind
        for steps in np.array_split(np.arange(products.shape[1]), min(_PIECES, products.shape[1])):
            length = np.maximum(norms[np.ix_(mine, steps)], _SMALLEST)
            along = products[np.ix_(mine, steps)] / length  # in units of one contribution along the canary's direction
            level, spread = _level_and_spread(along)
            variance = np.maximum(spread[:, None], _SMALLEST * length) ** 2
            ratio = (length * (along - level[:, None]) - length**2 / 2) / variance
            total[mine] += _mixture(ratio, sampling_probability).sum(axis=1)
    return np.arcsinh(total)


def _level_and_spread(along: Floats) -> tuple[Floats, Floats]:
    """Of every row, drawn towards the rows' common values by the share of their differences that is estimation error."""
    steps = along.shape[1]
    median = np.median(along, axis=1)
    spread = np.maximum(np.median(np.abs(along - median[:, None]), axis=1) * _MAD_TO_STD, _SMALLEST)
    typical = float(np.median(spread))
    level = _drawn_together(median, _MEDIAN_VARIANCE * typical**2 / steps)
    return level, np.exp(_drawn_together(np.log(spread), _LOG_MAD_VARIANCE / steps))


def _drawn_together(values: Floats, error_variance: float) -> Floats:
    centre = float(np.median(values))
    seen = float(np.median(np.abs(values - centre)) * _MAD_TO_STD) ** 2
    own = 0.0 if seen <= error_variance else 1 - error_variance / seen
    return np.asarray(centre + own * (values - centre))


def known_noise_scores(products: Floats, norms: Floats, *, sampling_probability: float, sigmas: Floats) -> Floats:
    """As :func:`likelihood_scores` where nothing but noise of known std ``sigmas`` ``[T]`` (on the sum) hides the canary."""
    length = np.maximum(norms, _SMALLEST)
    ratio = (products - length**2 / 2) / np.maximum(sigmas, _SMALLEST)[None, :] ** 2
    return np.asarray(_mixture(ratio, sampling_probability).sum(axis=1))


def _mixture(ratio: Floats, q: float) -> Floats:
    """log(1 - q + q e^ratio) without overflow."""
    if q == 1.0:
        return ratio
    return np.asarray(np.logaddexp(np.log1p(-q), np.log(q) + ratio))
