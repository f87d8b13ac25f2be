"""Poisson sampling cut to a cap on rows: the pair that dominates a step. Notation as in privacy_curves.py."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from .privacy_curves import PrivacyCurve, RemoveCurve, ReplaceCurve, SwapCurve

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureCurve:
    """The pair that reveals a public coin: ``weight`` of ``second``, the rest of ``first``. Curves of such pairs add."""

    first: RemoveCurve | ReplaceCurve
    second: SwapCurve
    weight: float

    @property
    def scale(self) -> float:
        return (1 - self.weight) * self.first.scale + self.weight * self.second.scale

    def excess(self, epsilon: Floats) -> Floats:
        return (1 - self.weight) * self.first.excess(epsilon) + self.weight * self.second.excess(epsilon)

    def derivative(self, epsilon: Floats) -> Floats:
        return (1 - self.weight) * self.first.derivative(epsilon) + self.weight * self.second.derivative(epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncation:
    """Poisson sampling with probability q from N rows, cut to a uniformly chosen B of them where more were drawn.

    Attributes:
        probability: that at least B OTHER rows were drawn, so that drawing the sensitive row would cut.
        conditional: that the sensitive row is in the batch, given that.
        inclusion: that the sensitive row is in the batch at all; below q.
    """

    probability: float
    conditional: float
    inclusion: float

    @classmethod
    def of(cls, *, q: float, batch_size: int, dataset_size: int) -> "Truncation":
        """Exact, from binomial tails: P(row in batch and cut) = P(draws > B) * B/N by symmetry among the rows."""
        probability = float(binom.sf(batch_size - 1, dataset_size - 1, q))
        both = float(binom.sf(batch_size, dataset_size, q)) * batch_size / dataset_size
        conditional = min(1.0, both / probability) if probability > 0 else 0.0
        return cls(probability=probability, conditional=conditional, inclusion=q * (1 - probability) + both)

    def curve(self, first: RemoveCurve | ReplaceCurve) -> PrivacyCurve:
        """The pair that dominates a truncated step: ``first`` where nothing would be cut, else a swap of two rows.

        Proof (derived here; the construction is that of dp-accounting 0.6, truncated subsampled Gaussian event):
        reveal whether at least B other rows were drawn; its law does not depend on the data. If not, the step is plain
        Poisson sampling of the row. If so, the batch without the row is a uniform B-subset of the others, the batch
        with it is a uniform (B-1)-subset beside it: couple the two by dropping one row g. Then both neighbours are
        (1-p) N(0) + p N(w), with w = u - g, or w = -g, or w = 0, all of norm at most 2 S: dominated by ReplaceCurve at
        2 mu.
        """
        if self.probability == 0 or self.conditional == 0:
            return first
        swap = SwapCurve(q=self.conditional, mu=2 * first.mu)
        return MixtureCurve(first=first, second=swap, weight=self.probability)
