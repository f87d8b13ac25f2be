"""The largest scores guess best: a bound from the order statistics of the privacy loss.

Idea: Xiang, Wang and Wang 2025, arXiv 2501.17750 (an audit sends bits through a channel); the statement used is derived here.
Claim: let m bits be fair and independent, and let each be guessed from an independent release of a mechanism with curve f
(at most one bit a release). Given the releases, a guess about bit j is right with probability at most
1/(1 + e^-|L_j|), with L_j its privacy loss. So the number of right guesses among ANY r chosen bits is stochastically at most the
sum of independent Bernoulli variables with the r largest of the m values 1/(1 + e^-|L|), the L drawn from the equal mixture of
the loss under "in" and under "out". Gaussian curves: L is N(mu^2/2, mu^2) up to sign, and |L| has the same law either way.

In one run the releases of several canaries are not independent, so the bound is advisory there.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dpaudit.accounting.gaussian_curve import gaussian_epsilon

from .bound import Design, Family, LowerBound, require_delta, require_level
from .one_run import Guesses

Floats = NDArray[np.float64]

_DRAWS = 400
_SAFETY = 4.0


def order_statistics(tried: list[Guesses], *, delta: float, level: float, design: Design, seed: int) -> LowerBound:
    """Gaussian-family bound by simulating the best number of right guesses.

    Advisory in every design: independent trials with fixed counts have no independent fair bits, and the canaries of one run
    have no independent losses. It shows what a sharper one-run bound could give.
    """
    require_level(level)
    require_delta(delta)
    share = level / len(tried)
    values = [gaussian_epsilon(order_mu(found, share, seed), delta)[0] for found in tried]
    best = int(np.argmax(values))
    ceiling = max(gaussian_epsilon(order_mu(found.perfect, share, seed), delta)[0] for found in tried)
    return LowerBound(
        method="order_statistics",
        epsilon=values[best],
        ceiling=ceiling,
        delta=delta,
        level=level,
        counts=tried[best].counts,
        design=design,
        family=Family.GAUSSIAN,
        valid=False,
        note="needs independent fair coins AND independent releases: advisory",
    )


def order_mu(guesses: Guesses, level: float, seed: int) -> float:
    """Largest mu found whose best number of right guesses reaches the observed one with probability at most the level."""
    if not _refuted(guesses, 0.0, level, seed):
        return 0.0
    low, high = 0.0, 12.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if _refuted(guesses, middle, level, seed) else (low, middle)
    return low


def _refuted(guesses: Guesses, mu: float, level: float, seed: int) -> bool:
    """Whether P(sum >= correct) <= level, from a normal approximation of the conditional sum averaged over simulated losses.

    The tail given the order statistics is bounded by Hoeffding's Poisson-binomial theorem: a binomial with the mean rate.
    """
    from scipy.stats import binom

    generator = np.random.default_rng(seed)
    m, r = guesses.canaries, guesses.guessed
    draws = max(8, min(_DRAWS, 400_000 // m))
    losses = np.abs(mu * mu / 2 + mu * generator.standard_normal((draws, m)))
    largest = np.partition(losses, m - r, axis=1)[:, m - r :]
    rates = expit(largest).mean(axis=1)
    # Hoeffding 1956, Theorem 4: beyond the mean + 1 the binomial tail is the larger one; nearer the mean nothing is refuted.
    if (guesses.correct <= r * rates + 1).mean() > level:
        return False
    tails = binom.sf(guesses.correct - 1, r, rates)
    return bool(tails.mean() + _SAFETY * tails.std() / np.sqrt(draws) <= level)
