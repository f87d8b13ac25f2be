"""One step of a candidate, executed symbolically on tiny tensors."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .axis_watch import AxisWatch
from .dispatch import ShadowMode
from .expressions import Table
from .functions import BoundaryMode
from .hooks import Hooks
from .operands import Operands
from .session import Session
from .shadow import ShadowMemory
from .shapes import ShapeBook, Shrinking, plain_shape
from .step_numbers import StepBook


@dataclass(slots=True, kw_only=True)
class Execution:
    """The machinery of one run: session, shadows and modes, on one table."""

    session: Session
    operands: Operands
    shapes: ShapeBook
    hooks: Hooks
    outputs: list[np.ndarray] = field(default_factory=list)

    @classmethod
    def begin(
        cls,
        table: Table,
        hooks: Hooks,
        shrinking: Shrinking,
        *,
        sampled: bool,
        real_rows: int,
        conditional: bool = False,
    ) -> "Execution":
        session = Session(
            table=table,
            filename=hooks.filename,
            sampled=sampled,
            real_rows=real_rows,
            tiny_rows=shrinking.rows,
            conditional=conditional,
            handled=hooks.handled,
        )
        operands = Operands(session, ShadowMemory(session))
        return cls(session=session, operands=operands, shapes=ShapeBook(session, shrinking), hooks=hooks)

    @contextlib.contextmanager
    def watched(self, book: StepBook | None = None) -> Iterator[None]:
        """Both modes and the hooks are active inside."""
        hooks = self.hooks
        hooks.operands, hooks.shapes, hooks.trace, hooks.course, hooks.book = self.operands, self.shapes, [], [], book
        before = _foreign_generators()
        try:
            axes = AxisWatch(self.operands.shadows, self.shapes, hooks.joints)
            self.operands.is_fixed, self.operands.real_size = axes.is_fixed, axes.real_size
            with BoundaryMode(self.operands, self.shapes, axes), ShadowMode(self.operands, axes):
                self.session.table.floats.active = True
                yield
            if _foreign_generators() != before:
                self.session.refuse(
                    "DPA112", "randomness was drawn where nobody watches, or torch's generator was seeded"
                )
        finally:
            self.session.table.floats.active = False
            hooks.operands, hooks.shapes, hooks.book = None, None, None

    def gradients(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """Per-sample gradients: one fresh private expression for every element."""
        table, shrinking = self.session.table, self.shapes.shrinking
        tensors = []
        for block, shape in enumerate(shrinking.tiny):
            count = int(np.prod(shape)) if shape else 1
            ids = [[table.gradient(i, block, c) for c in range(count)] for i in range(shrinking.rows)]
            values = (
                torch.linspace(0.3, 1.7, shrinking.rows * count, dtype=dtype)
                if count * shrinking.rows
                else torch.zeros(0)
            )
            tensor = values.reshape(shrinking.rows, *shape).clone()
            self.operands.shadows.attach(tensor, np.array(ids, dtype=np.int64).reshape(shrinking.rows, *shape))
            tensors.append(tensor)
        return tensors

    def collect(self, released: Any) -> list[np.ndarray]:
        """Expressions of what the step returned; charges what is private in it.

        Raises:
            Refusal: the update is malformed, or something private in it carries no noise.
        """
        session, tiny = self.session, self.shapes.shrinking.tiny
        if not isinstance(released, list | tuple) or len(released) != len(tiny):
            session.refuse(
                "DPA117", f"expected a list of {len(tiny)} tensors, one a parameter, got {type(released).__name__}"
            )
        collected = []
        for block, (tensor, shape) in enumerate(zip(released, tiny, strict=True)):
            if not isinstance(tensor, Tensor) or plain_shape(tensor) != tuple(shape):
                session.refuse("DPA117", f"parameter {block}: expected a tensor of the parameter's own shape")
            collected.append(self._released_ids(tensor))
        self.outputs = collected
        return collected

    def _released_ids(self, tensor: Tensor) -> np.ndarray:
        ids = self.operands.ids(tensor)
        return np.array(self.public_only(ids.reshape(-1).tolist(), "released"), dtype=np.int64).reshape(ids.shape)

    def public_only(self, ids: Sequence[int], how: str) -> list[int]:
        """Settle; what is still private or bare noise afterwards is refused."""
        session, table = self.session, self.session.table
        settled = []
        for x in ids:
            if table.flags[x] & 1 or table.touch[x]:
                if how == "kept" and not (table.flags[x] & 1 and table.touch[x]):
                    self._refuse_kept(x)
                x = session.freeze(x)
            if table.has_hole(x):
                session.refuse("DPA107", "the number of values depends on private data", table.lines[x])
            settled.append(x)
        return settled

    def _refuse_kept(self, x: int) -> None:
        session, table = self.session, self.session.table
        if table.touch[x]:
            session.refuse(
                "DPA106",
                "a value that depends on private data, without noise, is kept for later steps" + session.mixing_note(x),
                table.lines[x],
            )
        session.refuse("DPA106", "noise is kept for later steps", table.lines[x])


def _foreign_generators() -> tuple[object, ...]:
    """States that no step changes: of NumPy's generator and Python's, and the seed of torch's."""
    name, keys, place, *rest = np.random.get_state()  # noqa: NPY002
    return name, bytes(keys), place, tuple(rest), random.getstate(), torch.initial_seed()  # type: ignore[arg-type]
