"""How a release depends on its latents: out = a + L z.

Notation: ``L`` is the matrix from latents to released coordinates, ``z`` the latents, ``mu`` the distance of two
neighbouring releases in units of noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Diagonal:
    """Every released coordinate has a latent of its own: ``L[c, source[c]] = scale[c]``; source -1 is none."""

    source: Tensor
    scale: Tensor

    def apply(self, latents: Tensor) -> Tensor:
        """L z."""
        return self.scale * latents[self.source.clamp_min(0)] if latents.numel() else torch.zeros_like(self.scale)

    def resized(self, sizes: list[int], others: list[int]) -> "Diagonal | None":
        """The same form for tensors of other sizes, if every tensor takes a run of latents and no latent is left out."""
        starts: list[int] = []
        for part, size in zip(self.source.split_with_sizes(sizes), sizes, strict=True):
            first = int(part[0]) if size else -1
            if not torch.equal(part, torch.arange(first, first + size)) or first < 0:
                return None
            starts.append(first)
        order = sorted(range(len(sizes)), key=starts.__getitem__)
        runs: list[Tensor] = [self.source] * len(others)
        at, at_other = 0, 0
        for index in order:
            if starts[index] != at:
                return None
            runs[index] = torch.arange(at_other, at_other + others[index])
            at, at_other = at + sizes[index], at_other + others[index]
        return Diagonal(torch.cat(runs), torch.ones(sum(others), dtype=torch.float64))

    def shift(self, change: Tensor, tolerance: float, fresh: Tensor) -> tuple[Tensor, float]:
        """The latents' shift s with L s = change, and its norm mu; infinite where a moved coordinate has no noise."""
        moved = change.abs() > tolerance
        noisy = (self.source >= 0) & (self.scale.abs() > tolerance)
        if fresh.numel():
            noisy &= fresh[self.source.clamp_min(0)]
        else:
            noisy &= False
        ratio = torch.where(noisy, change / torch.where(noisy, self.scale, 1.0), 0.0)
        shift = torch.zeros(fresh.numel(), dtype=torch.float64)
        if noisy.any():
            shift[self.source[noisy]] = ratio[noisy]
        return shift, math.inf if bool((moved & ~noisy).any()) else float(ratio.norm())

    def uncovered(self, change: Tensor, tolerance: float, fresh: Tensor) -> Tensor:
        """Indices of moved coordinates without fresh noise."""
        noisy = (self.source >= 0) & (self.scale.abs() > tolerance)
        noisy = noisy & fresh[self.source.clamp_min(0)] if fresh.numel() else noisy & False
        return torch.nonzero((change.abs() > tolerance) & ~noisy).reshape(-1)


@dataclass(slots=True)
class Dense:
    """Any linear map."""

    matrix: Tensor

    def apply(self, latents: Tensor) -> Tensor:
        """L z."""
        return self.matrix @ latents

    def shift(self, change: Tensor, tolerance: float, fresh: Tensor) -> tuple[Tensor, float]:
        """The shortest shift s of fresh latents with L s = change; mu is infinite where there is none."""
        usable = self.matrix * fresh.to(torch.float64)
        if not usable.numel() or not bool((usable != 0).any()):
            moved = bool((change.abs() > tolerance).any())
            return torch.zeros(fresh.numel(), dtype=torch.float64), math.inf if moved else 0.0
        shift = torch.linalg.pinv(usable, rtol=1e-7) @ change
        missed = float((usable @ shift - change).abs().max())
        if missed > max(tolerance, 1e-6 * float(change.abs().max())):
            return shift, math.inf
        return shift, float(shift.norm())

    def uncovered(self, change: Tensor, tolerance: float, fresh: Tensor) -> Tensor:
        """Indices of the coordinates at which the change cannot be hidden by fresh latents."""
        usable = self.matrix * fresh.to(torch.float64)
        if not usable.numel():
            return torch.nonzero(change.abs() > tolerance).reshape(-1)
        left = change - usable @ (torch.linalg.pinv(usable, rtol=1e-7) @ change)
        return torch.nonzero(left.abs() > max(tolerance, 1e-6 * float(change.abs().max()))).reshape(-1)


NoiseMap = Diagonal | Dense


def structure_of(matrix: Tensor, tolerance: float) -> NoiseMap:
    """Diagonal where each coordinate has at most one latent and no latent serves two coordinates."""
    used = matrix.abs() > tolerance
    if bool((used.sum(dim=1) <= 1).all()) and bool((used.sum(dim=0) <= 1).all()):
        if not matrix.shape[1]:
            source = torch.full((matrix.shape[0],), -1)
            return Diagonal(source, torch.zeros(matrix.shape[0], dtype=torch.float64))
        column = used.to(torch.int64).argmax(dim=1)
        any_noise = used.any(dim=1)
        source = torch.where(any_noise, column, -1)
        scale = torch.where(any_noise, matrix.gather(1, column.unsqueeze(1)).squeeze(1), 0.0)
        return Diagonal(source, scale)
    return Dense(matrix)


def probe_matrix(release: Callable[[Tensor], Tensor], latents: Tensor, at: Tensor) -> Tensor:
    """L by one probe for each latent: the release with one latent moved by 1, less the release ``at`` the latents."""
    columns = []
    for index in range(latents.numel()):
        moved = latents.clone()
        moved[index] += 1.0
        columns.append(release(moved) - at)
    return torch.stack(columns, dim=1) if columns else torch.zeros(at.numel(), 0, dtype=torch.float64)
