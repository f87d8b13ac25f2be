"""The three forms of the interface: how one logical batch becomes released gradients.

``plain`` stores the gradients of all rows; the other two hold one physical chunk at a time, whatever the logical batch.
With several processes each computes the gradients of its own rows, and noise is added once, by the first one.
Choosing a form: :mod:`harness.form_choice`. That a form agrees with ``clip_and_noise``: :mod:`harness.conformance`.
"""

import itertools
from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor

from dpaudit.contract import Form

from .candidate import MechanismError
from .form_parts import FormParts, Released, StepForm
from .logical_batch import LogicalBatch, parts_of
from .mechanism_step import checked_gradients, noised_gradients
from .nonfinite import guard_nonfinite
from .precision import full_precision
from .process_group import count_of_each
from .whole_batch import RowBuffers


def build_form(form: Form, parts: FormParts) -> StepForm:
    """The form's driver."""
    match form:
        case Form.PLAIN:
            return PlainForm(parts)
        case Form.WEIGHTS:
            return WeightsForm(parts)
        case Form.CHUNKS:
            return ChunksForm(parts)
    assert_never(form)


class PlainForm:
    """``clip_and_noise`` on all rows at once.

    With several processes the first one's mechanism gets the rows of all, in order of rank, in one call; the others'
    mechanisms are never called. So it sees what one process would hand over, and the first process needs memory for it.
    """

    def __init__(self, parts: FormParts) -> None:
        self._parts = parts
        self._buffers = RowBuffers(parts.model)

    def release(self, batch: LogicalBatch, *, step: int, epoch: int) -> Released:
        """One step."""
        parts, group = self._parts, self._parts.group
        counts = count_of_each(group, len(batch.indices)) if group.size > 1 else [batch.rows]
        rows = self._buffers.rows(sum(counts) if group.rank == 0 else batch.rows)
        own = [value[: batch.rows] for value in rows]
        self._compute(batch, own)
        nonfinite = guard_nonfinite(own) if parts.guarded else torch.zeros((), dtype=torch.int64)
        if group.rank > 0:
            group.send_to_first(own)
            return Released(gradients=parts.to_all(None), nonfinite=nonfinite)
        for rank, start in enumerate(itertools.accumulate(counts[:-1]), start=1):
            group.receive([value[start : start + counts[rank]] for value in rows], rank=rank)
        released = noised_gradients(parts.mechanism, rows, step=step, epoch=epoch, file=parts.file)
        return Released(gradients=parts.to_all(released), nonfinite=nonfinite)

    def _compute(self, batch: LogicalBatch, rows: list[Tensor]) -> None:
        parts = self._parts
        for part in batch.parts(parts.gradients.physical_batch):
            images, labels = batch.images_and_labels(part)
            parts.gradients.chunk(images, labels, views=batch.views).write([value[part] for value in rows])
        for value in rows:
            value[len(batch.indices) :].zero_()
        if batch.canaries is not None:
            batch.canaries.inject(rows, batch.indices)


class WeightsForm:
    """``weights(norms)`` for each chunk, ``noise_std()`` once; the harness sums, adds the noise and divides by B.

    Guarantee: every row enters the sum with the weight for the norm of the very float32 row that is summed. With several
    processes each sums its own rows; the first one adds the noise, once, and sends the result to all.
    Rows whose squared norm is not finite are zeroed and counted where the run is guarded: rows with a NaN or an infinity,
    and finite rows so long that float32 cannot square them.
    """

    def __init__(self, parts: FormParts) -> None:
        self._parts = parts

    def release(self, batch: LogicalBatch, *, step: int, epoch: int) -> Released:
        """One step."""
        parts = self._parts
        totals = [torch.zeros_like(p, memory_format=torch.contiguous_format) for p in parts.model.parameters()]
        nonfinite = torch.zeros((), dtype=torch.int64, device=totals[0].device)
        for part in batch.parts(parts.gradients.physical_batch):
            images, labels = batch.images_and_labels(part)
            chunk = parts.gradients.chunk(images, labels, views=batch.views)
            squares = chunk.squared_norms()
            if parts.guarded:
                bad = ~squares.isfinite()
                chunk.discard(bad)
                squares = squares.masked_fill(bad, 0)
                nonfinite += bad.sum()
            chunk.add_weighted(self._weights(squares.sqrt(), step), totals)
        parts.group.sum_to_first(totals)
        if parts.group.rank == 0:
            totals = self._noised(totals, step)
        parts.group.send_from_first(totals)
        return Released(gradients=totals, nonfinite=nonfinite)

    def _weights(self, norms: Tensor, step: int) -> Tensor:
        parts = self._parts
        weights = parts.call(f"weights ran at step {step}", lambda: parts.mechanism.weights(norms))
        if not isinstance(weights, Tensor) or weights.shape != norms.shape:
            got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise MechanismError(
                f"mechanism: {parts.file}: expected weights(norms) to return a tensor {tuple(norms.shape)} at step {step}, "
                f"got {got}; return one weight a row",
                file=parts.file,
                line=None,
            )
        return weights.detach().to(norms)

    def _noised(self, totals: list[Tensor], step: int) -> list[Tensor]:
        parts = self._parts
        std = parts.call(f"noise_std ran at step {step}", lambda: float(parts.mechanism.noise_std()))
        with full_precision():
            return [(total + std * torch.randn_like(total)) / parts.config.batch_size for total in totals]


class ChunksForm:
    """``begin_step``, ``accumulate`` for each chunk, ``finalize`` once. A batch without rows is one chunk without rows.

    With several processes the first one's mechanism gets all chunks: everybody's first chunk in order of rank, then
    everybody's second, and so on. The others' mechanisms are never called.
    """

    def __init__(self, parts: FormParts) -> None:
        self._parts = parts
        self._buffers = RowBuffers(parts.model)

    def release(self, batch: LogicalBatch, *, step: int, epoch: int) -> Released:
        """One step."""
        parts, group = self._parts, self._parts.group
        if group.rank == 0:
            parts.call(f"begin_step ran at step {step}", lambda: parts.mechanism.begin_step(step, epoch))
        counts = count_of_each(group, len(batch.indices)) if group.size > 1 else [len(batch.indices)]
        largest = parts.gradients.physical_batch
        nonfinite = torch.zeros((), dtype=torch.int64, device=batch.indices.device)
        for turn in itertools.zip_longest(*(parts_of(count, largest, views=batch.views) for count in counts)):
            for rank, part in enumerate(turn):
                if part is not None and rank == group.rank:
                    nonfinite += self._hand_over_own(batch, part, step)
                elif part is not None and group.rank == 0:
                    rows = self._buffers.rows(part.stop - part.start)
                    group.receive(rows, rank=rank)
                    self._accumulate(rows, step)
        if group.rank > 0:
            return Released(gradients=parts.to_all(None), nonfinite=nonfinite)
        self._accumulate_absent(batch, step, drawn=sum(counts))
        return Released(gradients=parts.to_all(self._finalized(step)), nonfinite=nonfinite)

    def _hand_over_own(self, batch: LogicalBatch, part: slice, step: int) -> Tensor:
        """One chunk of this process's rows; how many of them the guard set to zero."""
        parts = self._parts
        images, labels = batch.images_and_labels(part)
        rows = self._buffers.rows(len(labels))
        parts.gradients.chunk(images, labels, views=batch.views).write(rows)
        nonfinite = guard_nonfinite(rows) if parts.guarded else torch.zeros((), dtype=torch.int64)
        if parts.group.rank == 0:
            self._accumulate(rows, step)
        else:
            parts.group.send_to_first(rows)
        return nonfinite

    def _accumulate_absent(self, batch: LogicalBatch, step: int, *, drawn: int) -> None:
        """Zero rows up to the constant number, which one process alone has; and one chunk at least."""
        absent, largest = batch.rows - len(batch.indices), self._parts.gradients.physical_batch
        empty = drawn + absent == 0
        while absent > 0 or empty:
            rows = self._buffers.rows(min(absent, largest))
            for value in rows:
                value.zero_()
            self._accumulate(rows, step)
            if empty:
                return
            absent -= largest

    def _accumulate(self, rows: Sequence[Tensor], step: int) -> None:
        parts = self._parts
        parts.call(f"accumulate ran at step {step}", lambda: parts.mechanism.accumulate(list(rows)))

    def _finalized(self, step: int) -> list[Tensor]:
        parts = self._parts
        shapes = [tuple(parameter.shape) for parameter in parts.model.parameters()]
        returned = parts.call(f"finalize ran at step {step}", lambda: list(parts.mechanism.finalize()))
        like = next(parts.model.parameters())
        return checked_gradients(returned, shapes, like=like, what="finalize", step=step, file=parts.file)
