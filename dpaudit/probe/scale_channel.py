"""What a change of the noise scale is worth by itself.

Whoever sees d coordinates of Gaussian noise sees its scale. For a relative change rho of every standard deviation the two
releases are to first order as far apart as those of a Gaussian mechanism with mu = sqrt(2 d) rho, whatever the contribution
(the Fisher information of a scale is 2 a coordinate; derived here). It is paid at every step and adds to what the noise
covers; no plain sigma says it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpaudit.contract import PlainData


@dataclass(frozen=True, slots=True)
class ScaleChannel:
    """``mu`` of the scale alone at one step (dimensionless, first order), over ``coordinates`` of the real shapes.

    ``rho`` is the root mean square of the relative changes over them.
    """

    mu: float
    rho: float
    coordinates: int

    @property
    def words(self) -> str:
        """For a message."""
        return (
            f"the scale alone is worth mu = sqrt(2 d) rho = {self.mu:.3g} a step (d = {self.coordinates} coordinates at the "
            f"real shapes, rho = {self.rho:.3g}, first order)"
        )

    @property
    def evidence(self) -> dict[str, PlainData]:
        """For a finding."""
        return {"mu_of_scale": self.mu, "rho": self.rho, "coordinates": self.coordinates}


def scale_channel(here: Tensor, there: Tensor, sizes: Sequence[int], real_sizes: Sequence[int]) -> ScaleChannel | None:
    """From the noise scale of each released coordinate on D and on D'; ``None`` where no coordinate has noise on D.

    Args:
        here, there: standard deviations, or anything proportional to them coordinate by coordinate.
        sizes: coordinates of each tensor at the shapes that were read.
        real_sizes: the same at the real shapes; a tensor's coordinates are taken to change alike.
    """
    squares, total = 0.0, 0
    for mine, other, real in zip(
        here.split_with_sizes(list(sizes)), there.split_with_sizes(list(sizes)), real_sizes, strict=True
    ):
        noisy = mine.abs() > 0
        if not bool(noisy.any()):
            continue
        change = (other[noisy] / mine[noisy]).abs() - 1
        squares += real * float(change.square().mean())
        total += real
    if not total or not math.isfinite(squares):
        return None
    return ScaleChannel(math.sqrt(2 * squares), math.sqrt(squares / total), total)


def row_scales(matrix: Tensor) -> Tensor:
    """Standard deviation of each released coordinate, from L."""
    return matrix.norm(dim=1) if matrix.numel() else torch.zeros(matrix.shape[0], dtype=torch.float64)
