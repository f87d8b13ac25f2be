"""What operations do to the order of elements along an axis: joins, views in another shape, and moves, for the book of joints."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import handlers_elementwise, handlers_reduce
from .joints import JointBook, Place, regrouped
from .shadow import ShadowMemory
from .shapes import ShapeBook, plain_shape

REGROUPING = frozenset(
    {
        "view",
        "reshape",
        "_unsafe_view",
        "_reshape_alias",
        "_reshape_copy",
        "view_copy",
        "flatten",
        "unflatten",
        "view_as",
    }
)
MOVING = frozenset(
    {
        "flip", "roll", "index", "index_select", "gather", "take", "index_put", "_index_put_impl", "index_add", "repeat",
        "constant_pad_nd", "tril", "triu", "rot90", "block_diag", "unfold", "unfold_copy", "as_strided", "as_strided_copy",
        "diagonal", "diagonal_copy", "cumsum",
    }
)  # fmt: skip
"""Verified operations after which an element, or what it stands for, is elsewhere on its axis."""
KEEPING = (
    frozenset(handlers_elementwise.HANDLERS)
    | (frozenset(handlers_reduce.HANDLERS) - MOVING)
    | REGROUPING
    | frozenset(
        {
            "cat", "stack", "clone", "contiguous", "copy", "fill", "zero", "full", "full_like", "zeros", "zeros_like", "ones",
            "ones_like", "empty", "empty_like", "empty_strided", "new_zeros", "new_ones", "new_full", "new_empty", "detach",
            "new_empty_strided", "scalar_tensor", "lift_fresh", "lift_fresh_copy", "lift", "alias", "expand", "expand_copy",
            "permute", "permute_copy", "transpose", "transpose_copy", "t", "t_copy", "slice", "slice_copy", "select",
            "select_copy", "squeeze", "squeeze_copy", "unsqueeze", "unsqueeze_copy", "split", "split_with_sizes", "unbind",
            "split_copy", "split_with_sizes_copy", "unbind_copy", "movedim", "swapaxes", "_local_scalar_dense", "item",
            "equal", "is_nonzero", "allclose", "alias_copy", "detach_copy", "masked_fill", "fmod", "remainder", "sinh", "cosh",
            "tan", "log2", "log10", "exp2", "trunc", "frac",
        }
    )
)  # fmt: skip
"""Operations that leave every element at its place, or take out an axis as a whole. Any other is taken to move elements."""
_COUNTING = frozenset(handlers_reduce.HANDLERS) - {"amax", "amin", "any", "all"}


class AxisWatch:
    """Notes in a book of joints what the operations of one execution do to axes."""

    def __init__(self, shadows: ShadowMemory, shapes: ShapeBook, joints: JointBook) -> None:
        self.shadows, self.session, self.shapes, self.joints = shadows, shadows.session, shapes, joints

    def after(
        self,
        name: str,
        inputs: Sequence[Tensor],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        result: Any,
        constant: bool,
    ) -> None:
        """An operation ran.

        Raises:
            Refusal: a cut that was made is not the same cut at the real shape (DPA111).
        """
        if self.shapes.is_real:
            return
        if name == "unbind":
            axis = kwargs.get("dim", args[1] if len(args) > 1 else 0)
            self.taken_apart(plain_shape(inputs[0])[axis])
        elif name not in KEEPING:
            self._places(inputs)
        if name in {"cat", "stack"}:
            self._joined(name, inputs, kwargs.get("dim", args[1] if len(args) > 1 else 0), result)
        elif name in REGROUPING:
            self._regrouped(inputs[0], result)
        elif name in MOVING if not constant else name not in KEEPING:
            moved = [t for t in _tensors(result) if t.numel() > 1]
            if not constant or any(_distinct(t) > 1 for t in (*inputs, *moved)):
                in_place = any(result is t for t in inputs)
                for size in {n for t in moved for n in plain_shape(t)}:
                    for other in (size, *(self.joints.related(size) if in_place else ())):
                        self._disturbed(other, name)

    def shows_counts(self, name: str, overload: str, constant: bool) -> bool:
        """Whether the result of an operation on known numbers depends on how many there are of each."""
        if self.shapes.is_real or not constant or (name in {"max", "min"} and not overload):
            return False
        return name in _COUNTING or name not in KEEPING

    def taken_apart(self, size: int) -> None:
        """Elements along an axis are taken by fixed places, which name others at the real shape unless the axis is the same."""
        if size != self.shapes.shrinking.rows and not self.is_fixed(size):
            self.joints.disturb(self.session, size, "taken one by one")

    def is_fixed(self, size: int) -> bool:
        """Whether an axis of this small size is as long in reality."""
        rows = self.shapes.shrinking.rows
        if rows and size % rows == 0:
            return False
        return self.shapes.is_real or self.joints.length(size) == size

    def is_constant(self, tensor: Tensor) -> bool:
        return self.shadows.is_constant(tensor)

    def _places(self, inputs: Sequence[Tensor]) -> None:
        """Elements are taken by an index that is the same at every shape."""
        indices = [t for t in inputs if t.dtype in {torch.int64, torch.int32} and self.is_constant(t)]
        if any(t.numel() and int(t.abs().max()) > 1 for t in indices):
            for tensor in inputs:
                if not any(tensor is t for t in indices):
                    for size in plain_shape(tensor):
                        self.taken_apart(size)

    def _disturbed(self, size: int, name: str) -> None:
        if size != self.shapes.shrinking.rows:
            self.joints.disturb(self.session, size, f"moved or made by {name}")

    def _joined(self, name: str, parts: Sequence[Tensor], axis: int, result: Tensor) -> None:
        axis %= max(result.dim(), 1)
        size = plain_shape(result)[axis]
        if size == self.shapes.shrinking.rows:
            return
        places: list[Place] = [(0, 0)]
        for part in parts:
            small = 1 if name == "stack" else (plain_shape(part)[axis] if part.dim() == result.dim() else 0)
            real = small if small < 2 else self.real_size(part, axis)
            if real is None:
                self._disturbed(size, "a join of what has no known size")
                return
            places.append((places[-1][0] + small, places[-1][1] + real))
        self.joints.add(self.session, size, places, "a join")

    def real_size(self, tensor: Tensor, axis: int) -> int | None:
        """The real size of an axis, as far as it is known."""
        known = self.shapes.real_size(tensor, axis)
        return known if known is not None else self.joints.length(plain_shape(tensor)[axis])

    def _regrouped(self, looked_at: Tensor, result: Tensor) -> None:
        before, after = plain_shape(looked_at), plain_shape(result)
        if 0 in before or before == after:
            return
        longer = set()
        for tensor in (looked_at, result):
            for axis, size in enumerate(plain_shape(tensor)):
                if self.shapes.real_size(tensor, axis) not in {None, size}:
                    longer.add(size)
        for old, new in regrouped(before, after):
            self.joints.relate(self.session, old, new, frozenset(longer))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return list(itertools.chain.from_iterable(map(_tensors, value))) if isinstance(value, list | tuple) else []


def _distinct(tensor: Tensor) -> int:
    return 1 if tensor.is_complex() else len(np.unique(np.asarray(tensor.detach().reshape(-1).tolist(), dtype=float)))
