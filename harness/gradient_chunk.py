"""The gradients of one chunk of rows: written out, measured, or summed with weights without being written out.

Notation: c rows of the chunk, K views of each row (their gradients are averaged), O outputs and I inputs of a layer.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from .layer_rules import LAYER_RULES, channels_last_rule


class GradientChunk(Protocol):
    """Per-sample gradients of c rows, for one of two uses: :meth:`write`, or norms first and then one weighted sum."""

    def write(self, out: list[Tensor]) -> None:
        """Every row's gradients into ``[c, *shape]``, one tensor a parameter."""
        ...

    def squared_norms(self) -> Tensor:
        """Squared joint norm of every row over all parameters, ``[c]``, at the parameters' precision."""
        ...

    def discard(self, rows: Tensor) -> None:
        """Make the rows marked in a truth tensor ``[c]`` exactly zero for the sum, NaN and infinity included."""
        ...

    def add_weighted(self, weights: Tensor, totals: list[Tensor]) -> None:
        """``totals[p] += sum_i weights[i] * gradient_i[p]``, of the very rows that were measured."""
        ...


class RowChunk:
    """Gradients that were computed as whole rows ``[c, *shape]``."""

    def __init__(self, rows: Sequence[Tensor], *, count: int) -> None:
        self._rows = [value[:count] for value in rows]

    def write(self, out: list[Tensor]) -> None:
        """Every row's gradients."""
        for target, value in zip(out, self._rows, strict=True):
            target.copy_(value)

    def squared_norms(self) -> Tensor:
        """Squared joint norms, ``[c]``."""
        return torch.stack([squared_lengths(value) for value in self._rows]).sum(0)

    def discard(self, rows: Tensor) -> None:
        """Make the marked rows zero."""
        self._rows = [value.masked_fill(_spread(rows, value), 0) for value in self._rows]

    def add_weighted(self, weights: Tensor, totals: list[Tensor]) -> None:
        """Add the weighted sum."""
        for total, value in zip(totals, self._rows, strict=True):
            total.add_(torch.tensordot(weights, value, dims=1))


@dataclass(slots=True, kw_only=True)
class Captured:
    """One layer of a chunk: its input ``[c * K, ...]``, the gradient of its output, where its parameters stand."""

    layer: nn.Module
    layer_input: Tensor
    output_gradient: Tensor
    positions: list[int]
    closed_form: bool = field(init=False)

    def __post_init__(self) -> None:
        # A linear layer at one position has gradients of rank one: |d x^T| = |d| |x|, a product, as exact as a norm can
        # be. With several positions or views the norm would be a sum of products of either sign, whose cancellation can
        # understate a row's norm and so let it pass its bound; there the rows are formed and measured.
        self.closed_form = type(self.layer) is nn.Linear and self.layer_input.dim() == 2


class LayerChunk:
    """Gradients given by every layer's input and the gradient of its output.

    Args:
        captured: every layer that ran.
        count, views: rows that are wanted (the rest is padding, with zero output gradients), and K.
        scratch: gives memory ``[rows, *shape]`` for a parameter's position; used until the next chunk.
        shapes: of all parameters, for those whose layer did not run.
    """

    def __init__(
        self, captured: list[Captured], *, count: int, views: int, scratch: "Scratch", parameters: Sequence[Tensor]
    ) -> None:
        self._captured = captured
        self._count, self._views = count, views
        self._scratch = scratch
        self._parameters = parameters
        self._rows: dict[int, Tensor] | None = None
        self._channels_last: set[int] = set()

    def write(self, out: list[Tensor]) -> None:
        """Every row's gradients."""
        written = set()
        for entry in self._captured:
            padded = len(entry.layer_input) != self._count
            targets = self._fill(entry) if padded else [out[position] for position in entry.positions]
            if not padded:
                LAYER_RULES[type(entry.layer)].fill(entry.layer, entry.layer_input, entry.output_gradient, targets)
            for position, value in zip(entry.positions, targets, strict=True) if padded else ():
                out[position].copy_(value[: self._count])
            written |= set(entry.positions)
        for position in set(range(len(out))) - written:
            out[position].zero_()

    def _fill(self, entry: Captured) -> list[Tensor]:
        """Rows ``[c + padding, *shape]`` of one layer in scratch memory, views summed (their loss is already averaged)."""
        targets = [self._scratch.rows(position, len(entry.layer_input)) for position in entry.positions]
        LAYER_RULES[type(entry.layer)].fill(entry.layer, entry.layer_input, entry.output_gradient, targets)
        return self._views_summed(targets)

    def _views_summed(self, targets: list[Tensor]) -> list[Tensor]:
        if self._views == 1:
            return targets
        return [value.view(-1, self._views, *value.shape[1:]).sum(1) for value in targets]

    def _formed(self) -> dict[int, Tensor]:
        """Rows by position; of the positions in ``_channels_last`` with the channels last."""
        if self._rows is None:
            self._rows = {}
            for entry in self._captured:
                if not self._closed(entry):
                    self._rows.update(zip(entry.positions, self._fill_fastest(entry), strict=True))
        return self._rows

    def _fill_fastest(self, entry: Captured) -> list[Tensor]:
        fill = channels_last_rule(entry.layer, entry.layer_input)
        if fill is None:
            return self._fill(entry)
        weight, *bias = [self._scratch.rows(position, len(entry.layer_input)) for position in entry.positions]
        outputs, inputs, *kernel = weight.shape[1:]
        # The same memory with the channels last; nothing reads it in the other order.
        targets = [weight.view(len(weight), outputs, *kernel, inputs), *bias]
        fill(entry.layer, entry.layer_input, entry.output_gradient, targets)
        self._channels_last.add(entry.positions[0])
        return self._views_summed(targets)

    def _closed(self, entry: Captured) -> bool:
        return entry.closed_form and self._views == 1

    def squared_norms(self) -> Tensor:
        """Squared joint norms, ``[c]``."""
        parts = [squared_lengths(value) for value in self._formed().values()]
        for entry in self._captured:
            if self._closed(entry):
                squares = squared_lengths(entry.layer_input)
                bias = 1.0 if len(entry.positions) == 2 else 0.0
                parts.append(entry.output_gradient.square().sum(1) * (squares + bias))
        return torch.stack(parts).sum(0)[: self._count]

    def discard(self, rows: Tensor) -> None:
        """Make the marked rows zero."""
        marked = self._with_padding(rows, True)  # padding too: a diverged model gives it NaN
        if marked.device.type == "cpu" and not bool(marked.any()):  # elsewhere the question would wait for the device
            return
        self._rows = {key: value.masked_fill_(_spread(marked, value), 0) for key, value in self._formed().items()}
        for entry in self._captured:
            if self._closed(entry):
                entry.layer_input = entry.layer_input.masked_fill(marked[:, None], 0)
                entry.output_gradient = entry.output_gradient.masked_fill(marked[:, None], 0)

    def add_weighted(self, weights: Tensor, totals: list[Tensor]) -> None:
        """Add the weighted sum."""
        weights = self._with_padding(weights, 0)
        for position, value in self._formed().items():
            total = torch.tensordot(weights, value, dims=1)
            totals[position].add_(total.permute(0, 3, 1, 2) if position in self._channels_last else total)
        for entry in self._captured:
            if self._closed(entry):
                weighted = weights[:, None] * entry.output_gradient
                totals[entry.positions[0]].addmm_(weighted.t(), entry.layer_input)
                if len(entry.positions) == 2:
                    totals[entry.positions[1]].add_(weighted.sum(0))

    def _with_padding(self, values: Tensor, fill: float | bool) -> Tensor:
        padding = len(self._captured[0].layer_input) // self._views - self._count
        return torch.cat([values, values.new_full((padding,), fill)]) if padding else values


class Scratch:
    """One growing buffer a parameter, reused by every chunk."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._buffers: dict[int, Tensor] = {}

    def rows(self, position: int, count: int) -> Tensor:
        """Memory ``[count, *shape]`` for one parameter, with whatever was in it."""
        buffer = self._buffers.get(position)
        if buffer is None or len(buffer) < count:
            like = self._parameters[position]
            buffer = self._buffers[position] = torch.empty((count, *like.shape), dtype=like.dtype, device=like.device)
        return buffer[:count]


def squared_lengths(rows: Tensor) -> Tensor:
    """Squared norms ``[c]`` of rows ``[c, *shape]``, without a copy of their squares.

    Summed over stretches of at most 256 numbers first, then over stretches, so that no sum is long enough for float32 to
    lose small coordinates beside large ones: a norm that came out too small would let a row pass its bound.
    """
    flat = rows.flatten(1)
    stretch = _stretch(flat.shape[1])
    if stretch < _SHORT:
        return flat.square().sum(1)
    squares: Tensor = torch.linalg.vector_norm(flat.reshape(len(flat), -1, stretch), dim=2).square()
    return squares.sum(1)


_SHORT = 8


@functools.cache
def _stretch(width: int) -> int:
    """The largest divisor up to 256."""
    return next(length for length in range(min(width, 256), 0, -1) if width % length == 0)


def _spread(rows: Tensor, value: Tensor) -> Tensor:
    return rows.view(-1, *[1] * (value.dim() - 1))
