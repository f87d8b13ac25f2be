"""How the dominating pair of one step depends on its sigma."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from .interpolation import Piece
from .privacy_curves import PrivacyCurve, RemoveCurve, ReplaceCurve, SwapCurve
from .truncation import Truncation

Floats = NDArray[np.float64]


class PairKind(StrEnum):
    """Which one-dimensional pair stands for a step."""

    REMOVE = "remove"
    REPLACE = "replace"
    SWAP = "swap"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFamily:
    """The pair ``kind`` at sampling probability q and mu = reach/sigma, behind ``truncation`` if there is one."""

    q: float
    kind: PairKind
    reach: float = 1.0
    truncation: Truncation | None = None

    def mu(self, sigma: float) -> float:
        return self.reach / sigma

    def sigma(self, mu: float) -> float:
        return self.reach / mu

    def curve(self, sigma: float) -> PrivacyCurve:
        first: RemoveCurve | ReplaceCurve
        match self.kind:
            case PairKind.REMOVE:
                first = RemoveCurve(q=self.q, mu=self.mu(sigma))
            case PairKind.REPLACE:
                first = ReplaceCurve(q=self.q, mu=self.mu(sigma))
            case PairKind.SWAP:
                return SwapCurve(q=self.q, mu=self.mu(sigma))
            case _:
                assert_never(self.kind)
        return first if self.truncation is None else self.truncation.curve(first)

    @property
    def _plain(self) -> bool:
        return self.truncation is None or self.truncation.probability == 0

    @property
    def symmetric(self) -> bool:
        """Whether the pair is its own mirror image, so that one direction says it all."""
        return self.kind is not PairKind.REMOVE

    @property
    def interpolates(self) -> bool:
        """Whether the curve is q times one Gaussian curve at a gamma' that is free of sigma."""
        return self.kind is not PairKind.REPLACE and self._plain

    @property
    def least_loss(self) -> float | None:
        """The lower end of the losses, where there is one."""
        return math.log1p(-self.q) if self.kind is PairKind.REMOVE and self._plain and self.q < 1 else None

    def interpolation_error(self, piece: Piece, losses: Floats) -> Floats:
        """Bound on the error of the interpolated curve at every loss."""
        right = np.abs(losses) if self.kind is PairKind.SWAP else losses
        with np.errstate(divide="ignore"):
            inner = np.log1p(np.maximum(np.expm1(right) / self.q, -1.0))
        mirrored = np.exp(np.minimum(losses, 0.0)) if self.kind is PairKind.SWAP else 1.0
        return np.asarray(self.q * mirrored * piece.errors(inner))
