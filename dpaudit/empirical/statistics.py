"""Statistics that tell two worlds apart, learned on pilot trials and fixed before the trials that count.

A statistic maps releases [trials, steps, coordinates] to one score a trial, larger for "in". Any function is valid: what was
learned can only make an attack weaker or stronger, not wrong, because error rates are counted on fresh trials.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
Model = Callable[[int, int], tuple[Floats, Floats]]

BLOCKS = 16
_RIDGE = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A named score; ``model`` draws scores of many runs (with the canary, without) as the pilot's fit has them, for planning."""

    name: str
    score: Score
    model: Model | None = None


def step_statistics(inside: Floats, outside: Floats, canary: Floats) -> list[Statistic]:
    """Statistics for a few steps in full. ``canary``: the direction of the canary's gradient.

    Shift of the first step along the canary; along the mean difference; best linear combination of all steps; noise scale.
    """
    learned = (inside[:, 0] - outside[:, 0]).mean(axis=0)
    made = [
        Statistic(name="shift along the canary", score=lambda played: ranked(played[:, 0] @ canary)),
        Statistic(name="shift along the mean difference", score=lambda played: ranked(played[:, 0] @ learned)),
    ]
    if inside.shape[1] * inside.shape[2] <= 160:
        made.append(_linear("linear over all steps", inside, outside, lambda played: played.reshape(len(played), -1)))
    made.append(_linear("noise scale", inside, outside, _log_sizes))
    return made


def run_statistics(inside: Floats, outside: Floats, q: float) -> list[Statistic]:
    """Statistics for whole runs given as [runs, steps, (projection, log size)]."""
    return [
        _mixture("likelihood ratio of shifts", inside, outside, q, lambda played: played[:, :, 0]),
        _mixture("the same, centred within a run", inside, outside, q, _centred),
        _linear("noise scale", inside, outside, _block_means),
    ]


def midpoint(inside: Floats, outside: Floats) -> float:
    """A threshold between two medians, each as far away in multiples of its own spread. Smooth in the sample."""
    centres = float(np.median(inside)), float(np.median(outside))
    spreads = [float(np.median(np.abs(side - np.median(side)))) for side in (inside, outside)]
    if sum(spreads) == 0 or not np.isfinite(spreads).all():
        return sum(centres) / 2
    return (centres[0] * spreads[1] + centres[1] * spreads[0]) / sum(spreads)


def _linear(name: str, inside: Floats, outside: Floats, features: Callable[[Floats], Floats]) -> Statistic:
    """Fisher's discriminant with a little ridge: directions without noise get a large, finite weight."""
    one, two = features(inside), features(outside)
    pooled = np.atleast_2d(np.cov(one, rowvar=False) * (len(one) - 1) + np.cov(two, rowvar=False) * (len(two) - 1))
    pooled /= max(1, len(one) + len(two) - 2)
    scale = float(np.trace(pooled)) / len(pooled)
    size = max(1.0, float(np.abs(one).max()), float(np.abs(two).max()))
    ridge = _RIDGE * scale + 1e-12 * size**2
    # few trials estimate a covariance badly: shrink towards its diagonal as their number falls
    weight = min(0.5, len(pooled) / (len(one) + len(two)))
    shrunk = (1 - weight) * pooled + weight * np.diag(np.diag(pooled))
    exact = pooled + ridge * np.eye(len(pooled))
    difference = one.mean(axis=0) - two.mean(axis=0)
    singular = float(np.linalg.eigvalsh(pooled)[0]) < 1e-6 * scale
    used = exact if singular else shrunk + ridge * np.eye(len(pooled))
    weights = np.linalg.solve(used, difference)
    return Statistic(name=name, score=lambda played: ranked(features(played) @ weights))


def _mixture(name: str, inside: Floats, outside: Floats, q: float, series: Callable[[Floats], Floats]) -> Statistic:
    """log-likelihood ratio of "shifted by a with probability q at every step" against noise alone.

    Noise scale by blocks of steps from the runs without the canary; a by maximum likelihood on those with it.
    """
    quiet, loud = series(outside), series(inside)
    sigma = _block_scale(quiet)
    shifts = np.geomspace(0.2, 60.0, 48)
    values = [_ratio(loud / sigma, shift, q).sum() for shift in shifts]
    shift = float(shifts[int(np.argmax(values))])
    steps = loud.shape[1]

    def model(runs: int, seed: int) -> tuple[Floats, Floats]:
        generator = np.random.default_rng(seed)
        noise = generator.standard_normal((2 * runs, steps))
        noise[:runs] += shift * (generator.random((runs, steps)) < q)
        scores = ranked(_ratio(noise, shift, q))
        return scores[:runs], scores[runs:]

    return Statistic(name=name, score=lambda played: ranked(_ratio(series(played) / sigma, shift, q)), model=model)


def _ratio(scaled: Floats, shift: float, q: float) -> Floats:
    hit = np.log(q) + shift * scaled - shift * shift / 2
    return np.asarray(np.logaddexp(math.log1p(-q) if q < 1 else -np.inf, hit).sum(axis=1))


def _block_scale(series: Floats) -> Floats:
    """Standard deviation at every step, pooled over blocks of neighbouring steps. Shape [steps]."""
    edges = np.linspace(0, series.shape[1], min(BLOCKS, series.shape[1]) + 1).astype(int)
    scale = np.empty(series.shape[1])
    for start, end in pairwise(edges):
        block = series[:, start:end]
        scale[start:end] = float(np.sqrt(((block - np.median(block)) ** 2).mean()))
    return np.maximum(scale, 1e-6 * max(1e-6, float(np.abs(series).max())))


def _centred(played: Floats) -> Floats:
    series = played[:, :, 0]
    return np.asarray(series - np.median(series, axis=1, keepdims=True))


def _block_means(played: Floats) -> Floats:
    return np.stack(
        [block.mean(axis=1) for block in np.array_split(played[:, :, 1], min(BLOCKS, played.shape[1]), axis=1)], axis=1
    )


def _log_sizes(played: Floats) -> Floats:
    """Logarithm of the root mean square of every step's release."""
    return np.asarray(np.log(np.maximum((played**2).mean(axis=2), 1e-30)) / 2)


def ranked(scores: Floats) -> Floats:
    """Finite scores: an overflow becomes the largest number of its sign, NaN the smallest."""
    return np.nan_to_num(scores, nan=-1e300, posinf=1e300, neginf=-1e300)
