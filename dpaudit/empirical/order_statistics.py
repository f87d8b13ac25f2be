"""The largest scores guess best: a bound from the order statistics of the privacy loss.

Idea: Xiang, Wang and Wang 2025, arXiv 2501.17750 (an audit sends bits through a channel); the statement used is derived here.
Claim: let m bits be fair and independent, and let each be guessed from an INDEPENDENT release of a mechanism with curve f
(at most one bit a release). Given the releases, a guess about bit j is right with probability at most
1/(1 + e^-|L_j|), with L_j its privacy loss. So the number of right guesses among ANY r chosen bits is stochastically at most the
sum of independent Bernoulli variables with the r largest of the m values 1/(1 + e^-|L|), the L drawn from the equal mixture of
the loss under "in" and under "out". Gaussian curves: L is N(mu^2/2, mu^2) up to sign, and |L| has the same law either way.

Design. Independent trials with fixed counts are turned into such bits by coins of our own (:func:`coined`), which costs half of
the scores; then the bound is valid within the Gaussian family.

In one run it is NOT valid, and cannot be made so without a further assumption. A Gaussian curve is that of a binary symmetric
channel whose error rate 1/(1 + e^S) is drawn from the law of S = |L| and published. Let ONE draw of S serve all m bits of a
run: every bit, given all others, still has exactly the curve, but now all losses are large together, and the chance that most
guesses are right is far above that of m independent losses (a test shows it). The valid one-run bounds (:mod:`one_run`) do not
take the losses as independent. There this one is advisory: what a sharper bound could give if they were.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from dpaudit.accounting.gaussian_curve import gaussian_epsilon

from .bound import Design, Family, LowerBound, require_delta, require_level
from .one_run import Guesses, tries

Floats = NDArray[np.float64]

_DRAWS = 400
_SAFETY = 4.0
_FEWEST = 20
"""Fewer scores would distort the coins: one side must not be empty, which by chance happens once in 2^19."""


def order_statistics(
    inside: Floats, outside: Floats, *, delta: float, level: float, design: Design, seed: int
) -> LowerBound:
    """Gaussian-family bound by simulating the best number of right guesses; see the module for what each design supports."""
    require_level(level)
    require_delta(delta)
    tried = tries(*(coined(inside, outside, seed) if design is Design.INDEPENDENT else (inside, outside)))
    share = level / len(tried)
    values = [gaussian_epsilon(order_mu(found, share, seed), delta)[0] for found in tried]
    best = int(np.argmax(values))
    ceiling = max(gaussian_epsilon(order_mu(found.perfect, share, seed), delta)[0] for found in tried)
    valid = design is Design.INDEPENDENT and min(len(inside), len(outside)) >= _FEWEST
    return LowerBound(
        method="order_statistics",
        epsilon=values[best],
        ceiling=ceiling,
        delta=delta,
        level=level,
        counts=tried[best].counts,
        design=design,
        family=Family.GAUSSIAN,
        valid=valid,
        note="" if valid else "needs independent losses, and at least 20 scores on either side: advisory",
    )


def coined(inside: Floats, outside: Floats, seed: int) -> tuple[Floats, Floats]:
    """Scores of m = min(n1, n0) trials, each with the canary or without by a fair coin; the rest is not used.

    Coin j takes the next unused score of the side that it shows, so the m trials are as if run under independent coins.
    """
    generator = np.random.default_rng(seed)
    most = min(len(inside), len(outside))
    heads = max(1, min(most - 1, int(generator.binomial(most, 0.5)))) if most > 1 else 1
    return generator.permutation(inside)[:heads], generator.permutation(outside)[: max(1, most - heads)]


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
