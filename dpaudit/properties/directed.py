"""Directed search: make one row's contribution as large as it will go.

A pattern search on the row itself: first the norm of each tensor's part, then single coordinates. It needs no derivative,
so clips, branches and comparisons are no obstacle. It finds a lower bound on the worst contribution, never an upper one.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from .explorer import Example, Explorer, OutOfTime, explicit

_FACTORS = (4.0, 0.25, 1.5, 0.6, 1.1, 0.9)
_ROUNDS = 2
_GAIN = 1 + 1e-6


def directed_search(explorer: Explorer, start: Example, budget: int) -> Example:
    """An example at the start's moment whose noise multiplier is as small as the budget of calls allows.

    Returns the start itself unless something better was found.
    """
    geometry = explorer.moments[start.moment].geometry
    climb = _Climb(explorer, start, budget)
    row = explorer.row(start).to(torch.float64)
    best = climb.distance(row)
    for _ in range(_ROUNDS):
        before = best
        row, best = _over_tensors(climb, row, best, geometry.sizes)
        row, best = _over_coordinates(climb, row, best)
        if not best > before * _GAIN or climb.left <= 0:
            break
    found = replace(start, pattern=explicit(row, geometry.bound))
    return found if best > climb.first * _GAIN and math.isfinite(best) else start


class _Climb:
    """Evaluates rows, counting calls. ``distance`` is the pair's distance in units of noise: 1 / sigma."""

    def __init__(self, explorer: Explorer, start: Example, budget: int) -> None:
        self.explorer = explorer
        self.start = start
        self.left = budget
        self.first = self._sigma_inverse(start)

    def distance(self, row: Tensor) -> float:
        self.left -= 1
        bound = self.explorer.moments[self.start.moment].geometry.bound
        return self._sigma_inverse(replace(self.start, pattern=explicit(row, bound)))

    def _sigma_inverse(self, example: Example) -> float:
        try:
            effect = self.explorer.effect(example)
        except OutOfTime:
            self.explorer.timed_out, self.left = True, 0
            return 0.0
        if effect is None or isinstance(effect, Exception) or not effect.finite or effect.noise_ratio is not None:
            return 0.0
        return math.inf if effect.sigma == 0 else 1 / effect.sigma


def _over_tensors(climb: _Climb, row: Tensor, best: float, sizes: list[int]) -> tuple[Tensor, float]:
    parts = list(torch.split(row, sizes))
    for factor in _FACTORS:
        for index, part in enumerate(parts):
            if climb.left <= 0 or math.isinf(best):
                return torch.cat(parts), best
            tried = [*parts[:index], part * factor, *parts[index + 1 :]]
            distance = climb.distance(torch.cat(tried))
            if distance > best * _GAIN:
                parts, best = tried, distance
    return torch.cat(parts), best


def _over_coordinates(climb: _Climb, row: Tensor, best: float) -> tuple[Tensor, float]:
    """Random single moves, then keep going while they help."""
    generator = torch.Generator().manual_seed(climb.explorer.seed)
    size = max(float(row.norm()), 1e-12) / math.sqrt(max(1, row.numel()))
    while climb.left > 0 and not math.isinf(best):
        move = torch.zeros_like(row)
        index = int(torch.randint(row.numel(), (1,), generator=generator))
        move[index] = size * float(torch.randn(1, generator=generator))
        distance = climb.distance(row + move)
        if distance > best * _GAIN:
            row, best = row + move, distance
        elif climb.left % 16 == 0:
            size *= 0.7
    return row, best
