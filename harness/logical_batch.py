"""One logical batch: the rows that a step draws, given out in physical chunks."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .augmentation import Augmenter
from .canaries import CanaryRows
from .datasets import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class LogicalBatch:
    """Rows of one step.

    Attributes:
        indices: rows of the training set, on the data's device.
        rows: what the mechanism is to see; rows beyond ``len(indices)`` are zero gradients.
        drawn: the augmentation's random numbers, or ``None``.
        views: K.
        channels_last: memory layout of the images.
        canaries: of the plain form: what replaces the gradients of Dirac canaries.
    """

    data: Dataset
    indices: Tensor
    rows: int
    augmenter: Augmenter
    drawn: Tensor | None
    views: int
    channels_last: bool = False
    canaries: CanaryRows | None = None

    def parts(self, physical_batch: int) -> Iterator[slice]:
        """Slices of the rows, each with at most ``physical_batch`` images, but at least one row."""
        return parts_of(len(self.indices), physical_batch, views=self.views)

    def images_and_labels(self, part: slice) -> tuple[Tensor, Tensor]:
        """Normalised views ``[c * views, ...]`` and labels ``[c]`` of some rows."""
        indices = self.indices[part]
        drawn = None if self.drawn is None else self.drawn[part]
        images = self.data.normalised(self.augmenter.apply(self.data.train_images[indices], drawn))
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, self.data.train_labels[indices]


def parts_of(rows: int, physical_batch: int, *, views: int) -> Iterator[slice]:
    """The slices of a batch of so many rows; another process's too."""
    size = max(1, physical_batch // views)
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
