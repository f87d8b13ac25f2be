"""What both methods of per-sample gradients share: their interface, the buffers of a whole batch, loss and padding of a chunk."""

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from .gradient_chunk import GradientChunk
from .precision import full_precision
from .recipe import Engine


class PerSampleGradients(Protocol):
    """Computes per-sample gradients of one model."""

    @property
    def physical_batch(self) -> int:
        """Images in memory at once."""
        ...

    def chunk(self, images: Tensor, labels: Tensor, *, views: int = 1) -> GradientChunk:
        """The gradients of ``c`` rows from ``c * views`` images, the views of a row next to each other; valid until the
        next call. A row's gradient is the mean over its views.

        Args:
            images: ``[c * views, ...]``, at most ``physical_batch`` of them unless c is 1.
            labels: ``[c]``.
        """
        ...

    def __call__(self, images: Tensor, labels: Tensor, *, rows: int) -> list[Tensor]:
        """Gradients ``[rows, *shape]`` of every parameter; rows beyond ``len(images)`` are zero.

        The tensors are valid until the next call, which reuses their memory.
        """
        ...


class RowBuffers:
    """One growing buffer a parameter. A step's gradients are views of their first rows."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = list(model.parameters())
        self._buffers = [_rows_like(parameter, 0) for parameter in self._parameters]

    def rows(self, count: int) -> list[Tensor]:
        """Memory ``[count, *shape]`` for every parameter, with whatever was in it."""
        if len(self._buffers[0]) < count:
            # A little room, because Poisson batches vary in size.
            room = count + count // 8
            self._buffers = [_rows_like(parameter, room) for parameter in self._parameters]
        return [buffer[:count] for buffer in self._buffers]


def _rows_like(parameter: Tensor, rows: int) -> Tensor:
    return torch.empty((rows, *parameter.shape), dtype=parameter.dtype, device=parameter.device)


class WholeBatch:
    """Writes the gradients of a whole batch, a chunk at a time."""

    def __init__(self, model: nn.Module, chunk: int) -> None:
        self._chunk_size = chunk
        self._buffers = RowBuffers(model)

    @property
    def physical_batch(self) -> int:
        """Images in memory at once."""
        return self._chunk_size

    def chunk(self, images: Tensor, labels: Tensor, *, views: int = 1) -> GradientChunk:
        """See :class:`PerSampleGradients`."""
        raise NotImplementedError

    def __call__(self, images: Tensor, labels: Tensor, *, rows: int) -> list[Tensor]:
        """Gradients ``[rows, *shape]`` of every parameter; see :class:`PerSampleGradients`."""
        count = len(images)
        gradients = self._buffers.rows(rows)
        for start in range(0, count, self._chunk_size):
            part = slice(start, min(start + self._chunk_size, count))
            self.chunk(images[part], labels[part]).write([gradient[part] for gradient in gradients])
        for gradient in gradients:
            gradient[count:].zero_()
        return gradients


class FullPrecisionChunk:
    """A chunk whose products and sums run at full float32 precision, whatever the forward pass used."""

    def __init__(self, inner: GradientChunk) -> None:
        self._inner = inner

    def write(self, out: list[Tensor]) -> None:
        with torch.no_grad(), full_precision():
            self._inner.write(out)

    def squared_norms(self) -> Tensor:
        with torch.no_grad(), full_precision():
            return self._inner.squared_norms()

    def discard(self, rows: Tensor) -> None:
        with torch.no_grad():
            self._inner.discard(rows)

    def add_weighted(self, weights: Tensor, totals: list[Tensor]) -> None:
        with torch.no_grad(), full_precision():
            self._inner.add_weighted(weights, totals)


def row_losses(logits: Tensor, labels: Tensor, *, views: int, mask: Tensor | None) -> Tensor:
    """Summed over rows, averaged over the views of a row, so that row i's gradient is that of its own mean loss."""
    if views == 1 and mask is None:
        return functional.cross_entropy(logits, labels, reduction="sum")
    losses = functional.cross_entropy(logits, labels.repeat_interleave(views), reduction="none") / views
    return (losses if mask is None else losses * mask.repeat_interleave(views)).sum()


def padded(
    images: Tensor, labels: Tensor, views: int, physical_batch: int, engine: Engine
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Images, labels and mask, padded with zero images to the physical batch where shapes are to be constant."""
    if not engine.constant_shapes:
        return images, labels, None
    missing = max(1, physical_batch // views) - len(labels)
    mask = torch.ones(len(labels) + missing, dtype=torch.float32, device=images.device)
    mask[len(labels) :] = 0
    images = torch.cat([images, images.new_zeros((missing * views, *images.shape[1:]))])
    return images, torch.cat([labels, labels.new_zeros(missing)]), mask
