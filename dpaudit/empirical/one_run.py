"""One run, many canaries: bounds that need nothing but the independent inclusion coins.

Notation: m canaries, each in or out by a fair coin of its own; the auditor guesses r of them, v rightly. Which r are guessed
may depend on all scores; r itself is fixed in advance, or the level is divided by the number of r tried.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.contract import UsageError

from .bound import Design, Family, LowerBound, require_delta, require_level

Floats = NDArray[np.float64]
Inverse = Callable[[float], float]
"""y to the smallest false positive rate at which the curve allows a true positive rate y."""

GUESS_SHARES = (1 / 64, 1 / 16, 1 / 4, 1.0)
"""Shares of the canaries that are guessed; fixed in advance, the level is divided among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """``correct`` of ``guessed`` guesses about ``canaries`` canaries were right."""

    canaries: int
    guessed: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.guessed <= self.canaries or self.guessed < 1:
            raise UsageError(
                f"guesses: expected 0 <= correct <= guessed <= canaries and a guess, got "
                f"{self.correct}, {self.guessed}, {self.canaries}"
            )

    @property
    def perfect(self) -> "Guesses":
        """All right."""
        return Guesses(canaries=self.canaries, guessed=self.guessed, correct=self.guessed)

    @property
    def counts(self) -> dict[str, int]:
        """As plain data."""
        return {"canaries": self.canaries, "guessed": self.guessed, "correct": self.correct}


def guess(inside: Floats, outside: Floats, *, guessed: int, high: int | None = None) -> Guesses:
    """Call the ``high`` largest scores "in" and the smallest "out", ``guessed`` in all (default: half and half).

    Ties are broken against the auditor.
    """
    canaries = len(inside) + len(outside)
    if not 1 <= guessed <= canaries:
        raise UsageError(f"guess: expected 1 to {canaries} guesses, got {guessed}")
    high = guessed // 2 if high is None else high
    scores = np.concatenate([inside, outside])
    member = np.concatenate([np.ones(len(inside)), np.zeros(len(outside))])
    from_top = np.lexsort((member, -scores))[:high]
    rest = np.setdiff1d(np.arange(canaries), from_top, assume_unique=True)
    from_bottom = rest[np.lexsort((-member[rest], scores[rest]))][: guessed - high]
    right = int(member[from_top].sum()) + int((1 - member[from_bottom]).sum())
    return Guesses(canaries=canaries, guessed=guessed, correct=right)


def steinke_p_value(guesses: Guesses, epsilon: float, delta: float) -> float:
    """P-value of (epsilon, delta)-DP. Source: Steinke, Nasr and Jagielski 2023, arXiv 2305.08846v1, Theorem 5.2."""
    r, v = guesses.guessed, guesses.correct
    p = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(v - 1, r, p))
    if delta == 0 or v == 0:
        return min(1.0, tail)
    i = np.arange(1, v + 1)
    steepest = float(((binom.sf(v - i - 1, r, p) - tail) / i).max())
    return min(1.0, tail + 2 * guesses.canaries * delta * max(0.0, steepest))


@lru_cache(maxsize=65536)
def steinke_epsilon(guesses: Guesses, delta: float, level: float) -> float:
    """Largest epsilon whose p-value is at most the level; 0 if none. The p-value grows with epsilon."""
    if steinke_p_value(guesses, 0.0, delta) > level:
        return 0.0
    low, high = 0.0, 40.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if steinke_p_value(guesses, middle, delta) <= level else (low, middle)
    return low


def curve_refuted(guesses: Guesses, inverse: Inverse, level: float) -> bool:
    """Whether the curve gives this many right guesses a probability of at most ``level``.

    Source: Mahloujifar, Melis and Chaudhuri 2024, arXiv 2410.22235, Theorem 9 and Algorithm 3. Suppose P(correct >= v) = level.
    Let right_i be the mean over canaries of P(guessed right, correct >= i), wrong_i that of P(guessed wrong, correct >= i).
    Turning one coin gives wrong_i >= inverse(right_{i+1}), and mass x on "i correct" adds x i/m to right_i and x (r-i)/m
    to wrong_i. The least masses that satisfy this are added up from v downwards; more than 1 in all is a contradiction.
    """
    m, r, v = guesses.canaries, guesses.guessed, guesses.correct
    right, wrong = level * v / m, level * (r - v) / m
    limit = r / m
    for i in range(v - 1, -1, -1):
        least = max(wrong, inverse(right))
        right += (least - wrong) * i / (r - i)
        wrong = least
        if right + wrong > limit:
            return True
    return False


def gaussian_inverse(mu: float) -> Inverse:
    """The inverse for N(mu, 1) against N(0, 1)."""
    return lambda y: float(ndtr(ndtri(y) - mu))


def one_run_mu(guesses: Guesses, level: float) -> float:
    """Largest mu on a search grid of relative width 1e-4 whose Gaussian curve is refuted; 0 if none."""
    if not curve_refuted(guesses, gaussian_inverse(0.0), level):
        return 0.0
    low, high = 0.0, 20.0
    while high - low > 1e-4 * max(high, 0.01):
        middle = (low + high) / 2
        low, high = (middle, high) if curve_refuted(guesses, gaussian_inverse(middle), level) else (low, middle)
    return low


def steinke(tried: list[Guesses], *, delta: float, level: float, design: Design) -> LowerBound:
    """Family-free one-run bound; the level is divided among the numbers of guesses tried."""
    require_level(level)
    require_delta(delta)
    share = level / len(tried)
    return _best(
        "steinke", tried, lambda found: steinke_epsilon(found, delta, share), delta, level, design, Family.NONE
    )


def one_run_gaussian(tried: list[Guesses], *, delta: float, level: float, design: Design) -> LowerBound:
    """One-run f-DP bound with Gaussian curves."""
    require_level(level)
    require_delta(delta)
    share = level / len(tried)
    return _best(
        "one_run_fdp",
        tried,
        lambda found: gaussian_epsilon(one_run_mu(found, share), delta)[0],
        delta,
        level,
        design,
        Family.GAUSSIAN,
    )


def _best(
    method: str,
    tried: list[Guesses],
    epsilon: Callable[[Guesses], float],
    delta: float,
    level: float,
    design: Design,
    family: Family,
) -> LowerBound:
    values = [epsilon(found) for found in tried]
    best = max(range(len(tried)), key=values.__getitem__)
    return LowerBound(
        method=method,
        epsilon=values[best],
        ceiling=max(epsilon(found.perfect) for found in tried),
        delta=delta,
        level=level,
        counts=tried[best].counts,
        design=design,
        family=family,
        valid=design is Design.ONE_RUN,
        note="" if design is Design.ONE_RUN else "needs independent inclusion coins, which fixed counts are not",
    )


def tries(inside: Floats, outside: Floats) -> list[Guesses]:
    """The guesses at every share of :data:`GUESS_SHARES`."""
    return [guess(inside, outside, guessed=size) for size in guess_sizes(len(inside) + len(outside))]


def guess_sizes(canaries: int) -> list[int]:
    """How many guesses are tried for so many canaries."""
    return sorted({min(canaries, max(2, int(share * canaries))) for share in GUESS_SHARES})
