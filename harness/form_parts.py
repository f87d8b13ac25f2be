"""What the forms share: their parts, what a step gives, and how it reaches every process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from dpaudit.contract import NonFinite, RunConfig

from .candidate import MechanismError
from .logical_batch import LogicalBatch
from .process_group import ProcessGroup
from .whole_batch import PerSampleGradients

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

    def to_all(self, released: list[Tensor] | None) -> list[Tensor]:
        """What the first process released, in every process; the others give ``None``."""
        if released is not None and self.group.size == 1:
            return released
        if released is None:
            gradients = [torch.empty(p.shape, dtype=p.dtype, device=p.device) for p in self.model.parameters()]
        else:
            gradients = [value.contiguous() for value in released]
        self.group.send_from_first(gradients)
        return gradients
