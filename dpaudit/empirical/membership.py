"""Membership inference with shadow models: loss threshold, LiRA, RMIA. Scores are larger where the attack says "in".

Notation: K models, m audited examples, z population examples that are in no model. ``member[k, j]`` is the coin of example
j in model k; all coins are independent and fair. One model is the target, the others are its shadows; a shadow's coins
say nothing about the target's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import UsageError

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

ATTACKS = ("loss", "lira_online", "lira_offline", "rmia")
"""Names of the attacks, in the order in which they are reported."""
_FEW = 8
"""With fewer models on a side than this, one variance is taken over all examples."""
_GAMMA = 1.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ShadowModels:
    """What K models say.

    Attributes:
        member: ``[K, m]``, the coins.
        margins: ``[K, m]``, log of p/(1-p) for the probability p of the example's label.
        population: ``[K, z]``, the same on examples that no model trained on.

    Raises:
        UsageError: shapes differ, a value is not finite, or there are fewer than 4 models.
    """

    member: Bits
    margins: Floats
    population: Floats

    def __post_init__(self) -> None:
        if self.member.shape != self.margins.shape or self.member.ndim != 2 or self.population.ndim != 2:
            raise UsageError(
                f"shadow models: expected member and margins of one shape [K, m], got {self.member.shape} and "
                f"{self.margins.shape}"
            )
        if len(self.member) < 4 or len(self.population) != len(self.member):
            raise UsageError(
                f"shadow models: expected at least 4 models, and the population scored by each, got {len(self.member)} and "
                f"{len(self.population)}"
            )
        for values in (self.margins, self.population):
            if not np.isfinite(values).all():
                raise UsageError("shadow models: a model's output is not finite; the attack cannot score it")


def scores_of(attack: str, models: ShadowModels, target: int) -> Floats:
    """``[m]``: the attack's scores of all examples against one target.

    Raises:
        UsageError: an unknown attack or target, or an example that is on one side in every shadow.
    """
    if not 0 <= target < len(models.member):
        raise UsageError(f"membership: expected a target below {len(models.member)}, got {target!r}")
    match attack:
        case "loss":
            return np.asarray(-np.logaddexp(0.0, -models.margins[target]))  # log p = -loss
        case "lira_online":
            return _lira_online(models, target)
        case "lira_offline":
            return _lira_offline(models, target)
        case "rmia":
            return _rmia(models, target)
        case _:
            raise UsageError(f"membership: expected one of {', '.join(ATTACKS)}, got {attack!r}")


def _lira_online(models: ShadowModels, target: int) -> Floats:
    """Log-likelihood ratio of two normals fitted per example. Source: Carlini et al. 2022, arXiv 2112.03570, Algorithm 1."""
    inside_mean, inside_std, outside_mean, outside_std = _fits(models, target)
    margin = models.margins[target]
    return _log_normal(margin, inside_mean, inside_std) - _log_normal(margin, outside_mean, outside_std)


def _lira_offline(models: ShadowModels, target: int) -> Floats:
    """How far above its "out" normal the target's margin lies. Source: Carlini et al. 2022, section V.D."""
    _, _, mean, std = _fits(models, target)
    return np.asarray((models.margins[target] - mean) / std)


def _rmia(models: ShadowModels, target: int) -> Floats:
    """Share of the population whose likelihood ratio the example's exceeds. Source: Zarifzadeh et al. 2024, arXiv 2312.03262.

    The reference probability of an example is the mean of its means over shadows with and without it (their online
    variant); gamma is 1. Ties within the share are broken by the ratio itself, which moves no share past another.
    """
    shadows = np.arange(len(models.member)) != target
    probability, population = _probability(models.margins), _probability(models.population)
    inside, outside = _means(probability[shadows], models.member[shadows])
    ratio = probability[target] / np.maximum(0.5 * (inside + outside), 1e-12)
    reference = population[target] / np.maximum(population[shadows].mean(axis=0), 1e-12)
    share = (ratio[:, None] >= _GAMMA * reference[None, :]).mean(axis=1)
    return np.asarray(share + 1e-6 * ratio / (1 + ratio))


def _fits(models: ShadowModels, target: int) -> tuple[Floats, Floats, Floats, Floats]:
    shadows = np.arange(len(models.member)) != target
    margins, member = models.margins[shadows], models.member[shadows]
    fits = []
    for side in (member, ~member):
        counts = side.sum(axis=0)
        _require_both(counts)
        mean = np.where(side, margins, 0.0).sum(axis=0) / counts
        squares = np.where(side, (margins - mean) ** 2, 0.0)
        if counts.min() < _FEW:
            std = np.full(len(mean), np.sqrt(squares.sum() / max(1, int(counts.sum()) - len(counts))))
        else:
            std = np.sqrt(squares.sum(axis=0) / (counts - 1))
        fits += [mean, np.maximum(std, 1e-6)]
    return fits[0], fits[1], fits[2], fits[3]


def _means(values: Floats, member: Bits) -> tuple[Floats, Floats]:
    counts = member.sum(axis=0)
    _require_both(counts)
    _require_both(len(member) - counts)
    inside = np.where(member, values, 0.0).sum(axis=0) / counts
    return inside, np.where(member, 0.0, values).sum(axis=0) / (len(member) - counts)


def _require_both(counts: NDArray[np.int64]) -> None:
    if not (counts > 0).all():
        place = int(np.flatnonzero(counts == 0)[0])
        raise UsageError(
            f"membership: example {place} is on one side in every shadow model; train more of them (the coins are fair)"
        )


def _probability(margins: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(margins, -500, 500))))


def _log_normal(value: Floats, mean: Floats, std: Floats) -> Floats:
    return np.asarray(-np.log(std) - 0.5 * ((value - mean) / std) ** 2)
