"""A statistic for runs in which the canary takes part exactly once an epoch, at a place that nobody knows.

Notation: x[t] are the projections of one epoch's releases on the canary's direction, in multiples of the noise and from the
level of a full batch. With the other rows against the canary (:attr:`Setup.facing`), the place shows in BOTH worlds: a row
is missing there (shift ``gap``) or turned round (shift ``shift``, about twice the gap). The likelihood ratio of an epoch is

    mean over t of exp(shift x[t] - shift^2 / 2)   against   mean over t of exp(gap x[t] - gap^2 / 2),

and epochs, whose places are independent, multiply. Poisson batches hide the missing row among a random number of others;
shuffled ones do not, which is why their privacy is so much worse at small noise. The pair is that of Chua et al. 2024
(arXiv 2403.17673v2, section 4); the statistic is derived here.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, softmax

from .statistics import BLOCKS, Statistic, ranked

Floats = NDArray[np.float64]

_ROUNDS = 12
_CHUNK = 200
_SHIFTS = np.geomspace(0.1, 60.0, 60)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Fit:
    """What the pilot's runs without the canary look like. ``level``, ``scale``: [steps], by blocks of neighbouring steps."""

    level: Floats
    scale: Floats
    epoch: int
    missed: float

    def epochs(self, played: Floats) -> Floats:
        """[runs, epochs, steps of an epoch], scaled."""
        scaled = (played[:, :, 0] - self.level) / self.scale
        return scaled.reshape(len(scaled), -1, self.epoch)

    def likelihood(self, scaled: Floats, shift: float) -> Floats:
        """log-likelihood [runs] of one shifted step an epoch against none, with the chance of none at all in an epoch."""
        if shift == 0:
            return np.zeros(len(scaled))
        placed = logsumexp(shift * scaled - shift * shift / 2, axis=2) - np.log(self.epoch) + np.log1p(-self.missed)
        nowhere = np.log(self.missed) if self.missed > 0 else -np.inf
        return np.asarray(np.logaddexp(placed, nowhere).sum(axis=1))


def one_place(inside: Floats, outside: Floats, *, steps_per_epoch: int, missed: float) -> Statistic:
    """The likelihood ratio of the module, fitted to pilot runs [runs, steps, (projection, log size)].

    Args:
        missed: how likely the canary's place falls behind the last batch of an epoch.
    """
    fit = _fitted(outside, steps_per_epoch, missed)
    gap = _best_shift(fit, fit.epochs(outside), or_none=True)
    shift = _best_shift(fit, fit.epochs(inside), or_none=False)

    def ratio(scaled: Floats) -> Floats:
        return ranked(fit.likelihood(scaled, shift) - fit.likelihood(scaled, gap))

    def model(runs: int, seed: int) -> tuple[Floats, Floats]:
        generator = np.random.default_rng(seed)
        epochs = inside.shape[1] // steps_per_epoch
        sides: tuple[list[Floats], list[Floats]] = ([], [])
        for side, by in zip(sides, (shift, gap), strict=True):
            for start in range(0, runs, _CHUNK):
                noise = generator.standard_normal((min(_CHUNK, runs - start), epochs, steps_per_epoch))
                place = generator.integers(steps_per_epoch, size=(*noise.shape[:2], 1))
                there = generator.random(place.shape) >= missed
                np.put_along_axis(noise, place, np.take_along_axis(noise, place, 2) + by * there, 2)
                side.append(ratio(noise))
        return np.concatenate(sides[0]), np.concatenate(sides[1])

    return Statistic(
        name="likelihood ratio of one place in each epoch", score=lambda played: ratio(fit.epochs(played)), model=model
    )


def _best_shift(fit: _Fit, scaled: Floats, *, or_none: bool) -> float:
    """Of greatest likelihood on a grid."""
    shifts = [0.0, *_SHIFTS] if or_none else list(_SHIFTS)
    return float(shifts[int(np.argmax([fit.likelihood(scaled, shift).sum() for shift in shifts]))])


def _fitted(outside: Floats, steps_per_epoch: int, missed: float) -> _Fit:
    """Level and scale by blocks, with the gap's own place in every epoch taken out (expectation and maximisation).

    Median and median deviation are the start; where an epoch has few steps, the gap moves both.
    """
    series = outside[:, :, 0]
    steps = series.shape[1]
    edges = np.linspace(0, steps, min(BLOCKS, steps) + 1).astype(int)
    blocks = list(pairwise(edges))
    level, scale = np.empty(steps), np.empty(steps)
    for start, end in blocks:
        level[start:end] = np.median(series[:, start:end])
        scale[start:end] = 1.4826 * np.median(np.abs(series[:, start:end] - level[start]))
    least = 1e-6 * max(1e-6, float(np.abs(series).max()))
    scale = np.maximum(scale, least)
    for _ in range(_ROUNDS):
        fit = _Fit(level=level, scale=scale, epoch=steps_per_epoch, missed=missed)
        scaled = fit.epochs(outside)
        gap = _best_shift(fit, scaled, or_none=True)
        weights = (softmax(gap * scaled, axis=2) if gap else np.zeros(scaled.shape)).reshape(series.shape)
        moved, level, scale = level, level.copy(), scale.copy()
        for start, end in blocks:
            there, by = weights[:, start:end], gap * scale[start]
            level[start:end] = (series[:, start:end] - there * by).mean()
            rest = series[:, start:end] - level[start]
            variance = (there * (rest - by) ** 2 + (1 - there) * rest**2).mean()
            scale[start:end] = max(least, float(np.sqrt(variance)))
        if np.abs(level - moved).max() <= 1e-3 * float(scale.min()):
            break
    return _Fit(level=level, scale=scale, epoch=steps_per_epoch, missed=missed)
