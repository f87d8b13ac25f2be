"""What every operation of one call takes in and gives out: where noise and data meet, and where what comes of it is used.

An operation is named by its place: the candidate's line, the operation, and how many of its kind that line has run before
in the call. Places are the same for other rows, other latents and other shapes as long as the candidate takes the same
path, also where a loop over rows makes the calls of different length.
"""

import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from . import tape

Place = tuple[int, str, int]
"""Line, operation, occurrence."""
_ELEMENTS = 20_000_000


class TraceTooLarge(BaseException):
    """The call moves too much data to be traced. No ``Exception``: a candidate's handler must not swallow it."""


@dataclass(slots=True)
class Operation:
    """One operation: floating-point tensors that went in and came out (flat, float64, copied), by argument.

    ``opaque``: it gave something that is not a floating-point tensor, such as a number, a decision or a mask.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    opaque: bool


@dataclass(slots=True)
class Trace:
    """The operations of one call by place, in order."""

    operations: dict[Place, Operation] = field(default_factory=dict)


class Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records operations of one call; with ``only``, what goes into the operations at these places.

    Args:
        path: file name of the candidate.
    """

    def __init__(self, path: str, *, only: Collection[Place] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.only = None if only is None else frozenset(only)
        self.trace = Trace()
        self._names = None if only is None else frozenset((line, name) for line, name, _ in only)
        self._counts: dict[tuple[int, str], int] = {}
        self._elements = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # as for the tape

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name: str = func._schema.name
        line = self._line()
        if line is None:
            return func(*args, **kwargs)
        at = (line, name)
        if self._names is not None and at not in self._names:
            return func(*args, **kwargs)
        count = self._counts[at] = self._counts.get(at, -1) + 1
        place = (*at, count)
        if self.only is not None and place not in self.only:
            return func(*args, **kwargs)
        inputs = self._copies((*args, *kwargs.values()))
        out = func(*args, **kwargs)
        outputs, opaque = self._results(out)
        self.trace.operations[place] = Operation(inputs, outputs, opaque)
        return out

    def _results(self, out: Any) -> tuple[tuple[Tensor, ...], bool]:
        parts = out if isinstance(out, list | tuple) else (out,)
        opaque = any(part is not None and not (isinstance(part, Tensor) and _is_real(part)) for part in parts)
        return self._copies(parts), opaque

    def _copies(self, values: Any) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for value in values:
            for tensor in value if isinstance(value, list | tuple) else (value,):
                if isinstance(tensor, Tensor) and _is_real(tensor):
                    self._elements += tensor.numel()
                    found.append(tensor.detach().to(torch.float64, copy=True).reshape(-1))
        if self._elements > _ELEMENTS:
            raise TraceTooLarge
        return tuple(found)

    def _line(self) -> int | None:
        """Line of the candidate's innermost frame, 0 if it has none; ``None`` for what the tape computes for itself."""
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename == self.path:
                return frame.f_lineno
            if frame.f_code.co_filename == tape.__file__:
                return None
            frame = frame.f_back
        return 0


def _is_real(tensor: Tensor) -> bool:
    return tensor.dtype.is_floating_point and tensor.layout == torch.strided and tensor.device.type != "meta"
