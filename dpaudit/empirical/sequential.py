"""A test that may be looked at after every trial: wealth that (epsilon, delta)-DP does not let grow.

One trial with the canary and one without make a round: X = 1 if the first is called "in", Y = 1 if the second is. Under
(epsilon, delta)-DP, E[X] <= e^eps E[Y] + delta, so 1 + b (X - e^eps Y - delta) has mean at most 1 for every stake b >= 0
that keeps it non-negative, and products of it are a supermartingale. The wealth is the mean over a fixed grid of stakes.
Ville's inequality: it ever reaches 1/level with probability at most level, so one may stop at any time. Sources: Ville 1939; the
e-process form for auditing is derived here.
"""

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import UsageError

from .bound import Design, Family, LowerBound, require_delta, require_level

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_STAKES = tuple(np.geomspace(1e-3, 0.999, 40))
_RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.995)
_GRID = np.concatenate([np.arange(0.0, 6.0, 0.05), np.arange(6.0, 20.0, 0.25)])


@dataclass(slots=True)
class Wealth:
    """Wealth against (epsilon, delta)-DP in both directions ("in" called in, "out" called out).

    Usage: :meth:`update` with the next rounds, then read :meth:`refuted`; any number of times.
    """

    epsilon: float
    delta: float
    level: float
    _log: Floats
    _largest: float

    @classmethod
    def against(cls, *, epsilon: float, delta: float, level: float) -> "Wealth":
        """A fresh test of one claim at one level."""
        require_level(level)
        require_delta(delta)
        return cls(epsilon, delta, level, np.zeros((2, len(_STAKES))), 0.0)

    def update(self, inside_called_in: Bools, outside_called_in: Bools) -> None:
        """Take in the next rounds, in their order.

        Raises:
            UsageError: the two sides have different lengths.
        """
        if len(inside_called_in) != len(outside_called_in):
            raise UsageError("sequential test: expected as many trials with the canary as without")
        stakes = np.array(_STAKES)
        price = math.exp(self.epsilon)
        most = 1 / (price + self.delta)  # the stake at which the worst round takes everything
        for hit, miss in zip(inside_called_in, outside_called_in, strict=True):
            # the other direction: E[1 - Y] <= e^eps E[1 - X] + delta
            for direction, (x, y) in enumerate(((float(hit), float(miss)), (1.0 - miss, 1.0 - hit))):
                self._log[direction] += np.log1p(stakes * most * (x - price * y - self.delta))
            self._largest = max(self._largest, self._current())

    def _current(self) -> float:
        peak = self._log.max()
        return float(np.exp(min(peak, 600.0)) * np.exp(self._log - peak).mean())

    @property
    def refuted(self) -> bool:
        """Whether the wealth ever reached 1/level."""
        return self._largest >= 1 / self.level


@dataclass(slots=True)
class PairWealth:
    """Wealth against a trade-off curve: how often is a PAIR of trials, one with the canary and one without, called rightly?

    Under the curve a pair is right with probability at most ``most_right`` = max over a of (1 - a)(1 - beta(a)), whatever
    the threshold, as its two trials are independent. The wealth bets on more, in equal parts on the rates of a fixed grid;
    by Ville's inequality it reaches 1/level with probability at most the level, at whichever pair one stops. Derived here.
    """

    most_right: float
    level: float
    _log: Floats
    _largest: float

    @classmethod
    def against(cls, *, most_right: float, level: float) -> "PairWealth":
        """A fresh test.

        Raises:
            UsageError: ``most_right`` does not lie in [0, 1].
        """
        require_level(level)
        if not 0 <= most_right <= 1:
            raise UsageError(f"pair test: expected a probability, got {most_right!r}")
        return cls(most_right, level, np.zeros(len(_RATES)), 0.0)

    def update(self, right: Bools) -> None:
        """Take in the next pairs, in their order."""
        rate = min(max(self.most_right, 1e-12), 1 - 1e-12)
        bets = np.maximum(np.array(_RATES), rate)  # betting on less than the curve allows would not be a fair game
        for call in right:
            self._log += np.log(bets / rate) if call else np.log((1 - bets) / (1 - rate))
            self._largest = max(self._largest, float(np.exp(np.minimum(self._log, 600.0)).mean()))

    @property
    def refuted(self) -> bool:
        """Whether the wealth ever reached 1/level."""
        return self._largest >= 1 / self.level

    def hopeless(self, played: int, allowed: int) -> bool:
        """Whether the wealth, grown at its present rate up to ``allowed`` pairs, would still not refute.

        Giving up then costs power alone: a test that ends early refutes no more often.
        """
        peak = float(self._log.max())
        grown = peak + float(np.log(np.exp(self._log - peak).mean()))
        return played > 0 and grown * allowed / played < -math.log(self.level)


def most_right_under(epsilon: float, delta: float) -> float:
    """max over a of (1 - a)(1 - beta(a)) under (epsilon, delta)-DP: at its kink, where both error rates are equal.

    There a = beta = (1 - delta)/(1 + e^eps). Left of it 1 - beta = delta + e^eps a, so the product rises up to there as a < 1/2;
    right of it the same with the rates exchanged. Derived here.
    """
    if epsilon > 700:
        return 1.0
    return (1 - (1 - delta) / (1 + math.exp(epsilon))) ** 2


def paired_free(right: Bools, *, delta: float, level: float, design: Design, counts: dict[str, int]) -> LowerBound:
    """The largest epsilon of a grid that the pair test refutes, with all smaller ones. Family-free, at any stopping time."""
    require_level(level)
    require_delta(delta)

    def largest(correct: int) -> float:
        refuted = [_pairs_refute(correct, len(right), most_right_under(float(at), delta), level) for at in _GRID]
        first = refuted.index(False) if False in refuted else len(refuted)
        return float(_GRID[first - 1]) if first else 0.0

    return LowerBound(
        method="sequential_pairs",
        epsilon=largest(int(right.sum())),
        ceiling=largest(len(right)),
        delta=delta,
        level=level,
        counts=counts,
        design=design,
        family=Family.NONE,
        valid=design is Design.INDEPENDENT,
    )


@lru_cache(maxsize=65536)
def _pairs_refute(correct: int, pairs: int, most_right: float, level: float) -> bool:
    """Whether the wealth of :class:`PairWealth` at the end reaches 1/level; the last wealth is itself an e-value."""
    rate = min(max(most_right, 1e-12), 1 - 1e-12)
    bets = np.maximum(np.array(_RATES), rate)
    log = correct * np.log(bets / rate) + (pairs - correct) * np.log((1 - bets) / (1 - rate))
    return bool(np.exp(np.minimum(log, 600.0)).mean() >= 1 / level)


def pairs_to_refute(most_right: float, level: float) -> int | None:
    """Pairs after which a perfect attack refutes; ``None`` if 100,000 do not suffice."""
    rate = min(max(most_right, 1e-12), 1 - 1e-12)
    gain = np.log(np.maximum(np.array(_RATES), rate) / rate)
    for pairs in range(1, 100_001):
        if float(np.exp(np.minimum(pairs * gain, 600.0)).mean()) >= 1 / level:
            return pairs
    return None


def rounds_to_refute(epsilon: float, delta: float, level: float) -> int:
    """Rounds after which a perfect attack refutes (epsilon, delta)-DP: its wealth is the mean of (1 + b (1 - delta))^n."""
    most = 1 / (math.exp(epsilon) + delta)
    gain = np.log1p(np.array(_STAKES) * most * (1 - delta))
    low, high = 1, 1 << 30
    while low < high:
        middle = (low + high) // 2
        # perfect in both directions, so the mean over both rows is the mean over stakes
        peak = float((middle * gain).max())
        value = peak + math.log(float(np.exp(middle * gain - peak).mean()))
        low, high = (low, middle) if value >= -math.log(level) else (middle + 1, high)
    return low


def sequential(
    inside_called_in: Bools, outside_called_in: Bools, *, delta: float, level: float, design: Design
) -> LowerBound:
    """The largest epsilon of a grid that is refuted by the time all rounds are in. Family-free, valid at any stopping time.

    One wealth for each epsilon of the grid: what refutes epsilon refutes every smaller one, so no share of the level is lost.
    """
    require_level(level)
    require_delta(delta)
    rounds = min(len(inside_called_in), len(outside_called_in))
    if rounds < 1:
        raise UsageError("sequential test: expected at least one trial on either side")
    pairs = Counter(zip(inside_called_in[:rounds].tolist(), outside_called_in[:rounds].tolist(), strict=True))
    return LowerBound(
        method="sequential",
        epsilon=_largest_refuted(pairs, delta, level),
        ceiling=_largest_refuted(Counter({(True, False): rounds}), delta, level),
        delta=delta,
        level=level,
        counts={"rounds": rounds},
        design=design,
        family=Family.NONE,
        valid=design is Design.INDEPENDENT,
    )


def _largest_refuted(pairs: "Counter[tuple[bool, bool]]", delta: float, level: float) -> float:
    """Wealth at the end for every epsilon; the path is not needed, as the last wealth is itself an e-value."""
    stakes = np.array(_STAKES)[None, :]
    price = np.exp(_GRID)[:, None]
    most = 1 / (price + delta)
    logs = []
    for turned in (False, True):
        log = np.zeros((len(_GRID), stakes.shape[1]))
        for (hit, miss), count in pairs.items():
            x, y = (1.0 - miss, 1.0 - hit) if turned else (float(hit), float(miss))
            log += count * np.log1p(stakes * most * (x - price * y - delta))
        logs.append(log)
    both = np.concatenate(logs, axis=1)
    peak = both.max(axis=1)
    wealth = peak + np.log(np.exp(both - peak[:, None]).mean(axis=1))
    refuted = wealth >= -math.log(level)
    return float(_GRID[int(np.flatnonzero(refuted)[-1])]) if refuted.any() else 0.0
