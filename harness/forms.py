"""The three forms of the interface: how one logical batch becomes released gradients.

``plain`` stores the gradients of all rows; the other two hold one physical chunk at a time, whatever the logical batch.
Choosing a form: :mod:`harness.form_choice`. That a form agrees with ``clip_and_noise``: :mod:`harness.conformance`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, assert_never

import torch
from torch import Tensor, nn

from dpaudit.contract import Form, NonFinite, RunConfig

from .candidate import Mechanism, MechanismError
from .logical_batch import LogicalBatch
from .mechanism_step import checked_gradients, noised_gradients
from .nonfinite import guard_nonfinite
from .per_sample import PerSampleGradients, RowBuffers
from .precision import full_precision
from .process_group import ProcessGroup

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What one step gave.

    Attributes:
        gradients: noised averages, one tensor a parameter.
        nonfinite: rows of this process that the guard set to zero, a tensor of no dimensions.
    """

    gradients: list[Tensor]
    nonfinite: Tensor


class StepForm(Protocol):
    """Turns a batch into released gradients."""

    def release(self, batch: LogicalBatch, *, step: int, epoch: int) -> Released:
        """One step; calls the mechanism."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FormParts:
    """What every form needs. ``file`` is the candidate's, for messages."""

    mechanism: Any
    model: nn.Module
    gradients: PerSampleGradients
    config: RunConfig
    file: str
    group: ProcessGroup

    @property
    def guarded(self) -> bool:
        """Whether rows that are not finite become zero."""
        return self.config.cell.nonfinite is NonFinite.GUARDED

    def call(self, doing: str, function: Callable[[], Value]) -> Value:
        """``function()``, which runs the candidate's code.

        Raises:
            MechanismError: it raised.
        """
        try:
            return function()
        except (Exception, SystemExit) as error:
            raise MechanismError.from_exception(error, file=self.file, doing=doing) from error


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
    """``clip_and_noise`` on all rows at once."""

    def __init__(self, parts: FormParts) -> None:
        self._parts = parts
        self._buffers = RowBuffers(parts.model)

    def release(self, batch: LogicalBatch, *, step: int, epoch: int) -> Released:
        """One step."""
        parts = self._parts
        mechanism: Mechanism = parts.mechanism
        rows = self._buffers.rows(batch.rows)
        for part in batch.parts(parts.gradients.physical_batch):
            images, labels = batch.images_and_labels(part)
            parts.gradients.chunk(images, labels, views=batch.views).write([value[part] for value in rows])
        for value in rows:
            value[len(batch.indices) :].zero_()
        nonfinite = guard_nonfinite(rows) if parts.guarded else torch.zeros((), dtype=torch.int64)
        gradients = noised_gradients(mechanism, rows, step=step, epoch=epoch, file=parts.file)
        return Released(gradients=gradients, nonfinite=nonfinite)


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
    """``begin_step``, ``accumulate`` for each chunk, ``finalize`` once. A batch without rows is one chunk without rows."""

    def __init__(self, parts: FormParts) -> None:
        self._parts = parts
        self._buffers = RowBuffers(parts.model)

    def release(self, batch: LogicalBatch, *, step: int, epoch: int) -> Released:
        """One step."""
        parts = self._parts
        shapes = [tuple(parameter.shape) for parameter in parts.model.parameters()]
        nonfinite = torch.zeros((), dtype=torch.int64, device=batch.indices.device)
        parts.call(f"begin_step ran at step {step}", lambda: parts.mechanism.begin_step(step, epoch))
        for part in batch.parts(parts.gradients.physical_batch):
            images, labels = batch.images_and_labels(part)
            rows = self._buffers.rows(len(labels))
            parts.gradients.chunk(images, labels, views=batch.views).write(rows)
            if parts.guarded:
                nonfinite += guard_nonfinite(rows)
            self._accumulate(rows, step)
        self._accumulate_absent(batch, step)
        returned = parts.call(f"finalize ran at step {step}", lambda: list(parts.mechanism.finalize()))
        gradients = checked_gradients(
            returned, shapes, like=next(parts.model.parameters()), what="finalize", step=step, file=parts.file
        )
        return Released(gradients=gradients, nonfinite=nonfinite)

    def _accumulate_absent(self, batch: LogicalBatch, step: int) -> None:
        """Zero rows up to the constant number; and one chunk at least."""
        absent, largest = batch.rows - len(batch.indices), self._parts.gradients.physical_batch
        while absent > 0 or batch.rows == 0:
            rows = self._buffers.rows(min(absent, largest))
            for value in rows:
                value.zero_()
            self._accumulate(rows, step)
            if batch.rows == 0:
                return
            absent -= largest

    def _accumulate(self, rows: Sequence[Tensor], step: int) -> None:
        parts = self._parts
        parts.call(f"accumulate ran at step {step}", lambda: parts.mechanism.accumulate(list(rows)))
