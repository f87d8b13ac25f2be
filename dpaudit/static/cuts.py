"""Cuts of tensors (slices, splits, narrow, diagonals): each must be the same cut at the small shape and at the real one."""

import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .axis_watch import AxisWatch
from .joints import Place
from .shape_numbers import ShapeInt, full_value, is_shape_number, plain_value, size_value
from .shapes import plain_shape
from .step_numbers import plain_number

CUTS = frozenset(
    {
        "chunk", "tensor_split", "split", "narrow", "unfold", "hsplit", "vsplit", "dsplit", "unsafe_split", "unsafe_chunk",
        "split_with_sizes", "unsafe_split_with_sizes", "select", "narrow_copy",
    }
)  # fmt: skip
DIAGONALS = frozenset({"triu", "tril", "diagonal", "diag", "diag_embed", "triu_indices", "tril_indices", "diagflat"})
_BY_SIZES = frozenset({"split", "unsafe_split", "split_with_sizes", "unsafe_split_with_sizes"})
MAXIMAL_CHANGES = 64
"""Of the values along an axis; with more of them it is not to be cut."""
_BY_PLACES = frozenset({"tensor_split", "hsplit", "vsplit", "dsplit"})


class Cuts:
    """Checks the cuts of one execution."""

    def __init__(self, axes: AxisWatch) -> None:
        self.axes, self.joints = axes, axes.joints
        self.session, self.shapes = axes.session, axes.shapes

    # ---- calls ------------------------------------------------------------------------------------------------

    def call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Check a call that cuts; what is given back has plain places.

        Raises:
            Refusal: it means something else at the real shape (DPA111).
        """
        if name == "narrow_copy":
            name = "narrow"
        self._check_fixed(name, args, kwargs)
        if not args or not isinstance(args[0], Tensor) or (self.shapes.is_real and not self.has_rows(args[0])):
            return args, kwargs
        if name in _BY_SIZES:
            return self._split(args, kwargs)
        if name in {"narrow", "select"}:
            return self._narrow(name, args, kwargs)
        if name in _BY_PLACES and any(map(is_shape_number, _flat([*args[1:], *kwargs.values()]))):
            self.session.mark_line()
            self.session.refuse("DPA111", f"{name} by sizes is not followed; use split with a list of sizes")
        return args, kwargs

    def _check_fixed(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Cutting into pieces of a fixed size means something else at another shape."""
        tensor, *rest = args
        if self.shapes.is_real and not self.has_rows(tensor):
            return
        given = [v for a in [*rest[:1], *kwargs.values()] for v in (a if isinstance(a, list | tuple) else (a,))]
        numbers = [v for v in given if type(v) is int] if name != "split" else [v for v in rest[:1] if type(v) is int]
        if name == "narrow":
            numbers = [v for v in rest[1:] if type(v) is int and v != 0]
        if name not in {"split", "narrow", "select"} or any(v >= 2 for v in numbers):
            if name in {"split", "select"} and (name == "select" or not numbers):
                return
            if numbers and numbers != [1]:
                self.session.mark_line()
                self.session.refuse(
                    "DPA111", f"{name} cuts by a fixed size, which means something else at the real shape"
                )

    def diagonal(self, name: str, args: Any, kwargs: Any) -> None:
        """An offset beyond the small tensor's diagonals may lie inside the real one."""
        sizes = [n for a in args[:1] if isinstance(a, Tensor) for n in plain_shape(a)]
        offsets = [v for v in [*args[1:], *kwargs.values()] if type(v) is int]
        if any(abs(v) >= min([*sizes, 2]) for v in offsets):
            self.session.mark_line()
            self.session.refuse("DPA111", f"{name} by a fixed offset means something else at the real shape")

    def _split(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = dict(zip(("tensor", "sizes", "dim"), args, strict=False)) | kwargs
        tensor, axis = named["tensor"], int(plain_value(named.get("dim", 0)))
        sizes = next(
            (named[k] for k in ("sizes", "split_size_or_sections", "split_size", "split_sizes") if k in named), 0
        )
        length = plain_shape(tensor)[axis]
        if isinstance(sizes, int):
            small, real = plain_value(sizes), full_value(sizes)
            count = -(-length // small) if small > 0 else 0
            sizes = [sizes] * (count if is_shape_number(sizes) and small != real else 0)
            whole: Any = small
        else:
            whole = None
        at: Place = (0, 0)
        places = []
        for size in sizes:
            size_value(size)
            at = (at[0] + plain_value(size), at[1] + int(full_value(size)))
            places.append(at)
        self._note(tensor, axis, places, any(map(is_shape_number, sizes)))
        plain = whole if whole is not None else [plain_value(n) for n in sizes]
        return (tensor, plain), {"dim": axis}

    def _narrow(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        named = dict(zip(("tensor", "dim", "start", "length"), args, strict=False)) | kwargs
        start = named.get("start", named.get("index", 0))
        if not isinstance(start, int) or not isinstance(named.get("dim"), int):
            return args, kwargs
        tensor, axis = named["tensor"], int(plain_value(named["dim"]))
        if name == "select":
            return (tensor, axis, self._index(tensor, axis, start)), {}
        first = self._bound(tensor, axis, start)
        if first < 0:
            self.session.refuse("DPA111", "narrow from the end is not followed")
        end = self._bound(tensor, axis, start + named["length"])
        return (tensor, axis, first, end - first), {}

    # ---- lists ------------------------------------------------------------------------------------------------

    def take_apart(self, tensor: Tensor) -> None:
        """The elements become a list or an array of Python's, where any of them may be taken by its place.

        Raises:
            Refusal: a place means something else at the real shape (DPA111).
        """
        if self.shapes.is_real:
            return
        was_inside, self.session.inside = self.session.inside, True
        try:
            plain: list[float] = tensor.detach().reshape(-1).tolist() if not tensor.is_complex() else []
        finally:
            self.session.inside = was_inside
        self.session.mark_line()
        if self.axes.is_constant(tensor):
            for value in plain:
                self.session.note_public("a list of public numbers", float(value))
        for size in plain_shape(tensor):
            self.axes.taken_apart(size)

    def put_together(self, tensor: Tensor) -> None:
        """A tensor was made of numbers of Python's: where they change there is a joint, at the same place at every shape."""
        if self.shapes.is_real or tensor.is_complex():
            return
        was_inside, self.session.inside = self.session.inside, True
        try:
            values = np.asarray(tensor.detach().tolist(), dtype=float)
        finally:
            self.session.inside = was_inside
        for axis, size in enumerate(values.shape):
            lines = np.moveaxis(values, axis, 0).reshape(size, -1)
            changes = np.nonzero((lines[1:] != lines[:-1]).any(axis=1))[0] + 1
            if size == self.shapes.shrinking.rows or not len(changes):
                continue
            if len(changes) > MAXIMAL_CHANGES:
                self.joints.disturb(self.session, size, "given one by one")
            else:
                self.joints.add(self.session, size, [(int(k), int(k)) for k in changes], "a list of numbers")

    # ---- subscripts -------------------------------------------------------------------------------------------

    def index(self, tensor: Tensor, index: Any) -> Any:
        """Check a subscript; what is given back has plain places.

        Raises:
            Refusal: it means something else at the real shape (DPA111).
        """
        if self.shapes.is_real and not self.has_rows(tensor) and not _by_rows(index):
            return index
        checked: dict[int, Any] = {}
        for place, part, axis in _by_axis(tensor, index):
            if isinstance(part, slice):
                self._check_slice(part, plain_shape(tensor)[axis])
                checked[place] = self._slice(tensor, axis, part)
            elif isinstance(part, int | np.integer) and not isinstance(part, bool):
                checked[place] = self._index(tensor, axis, part)
            elif self._is_number(part):
                checked[place] = self._index(tensor, axis, operator.index(part))
        if not isinstance(index, tuple):
            return checked.get(0, index)
        return tuple(checked.get(place, part) for place, part in enumerate(index))

    def _is_number(self, part: Any) -> bool:
        """Whether part of an index is one known number in a tensor."""
        return (
            isinstance(part, Tensor)
            and part.dim() == 0
            and part.dtype is not torch.bool
            and self.axes.is_constant(part)
        )

    def _check_slice(self, part: slice, size: int) -> None:
        """A slice that ends beyond the tiny tensor may end inside the real one."""
        for bound in (part.start, part.stop, part.step):
            if not isinstance(bound, int | np.integer | Tensor | None):
                self.session.refuse("DPA116", f"a slice bounded by a {type(bound).__name__} is not followed")
            fixed = _fixed(bound)
            if fixed is not None and abs(fixed) >= size and fixed != 0 and not (bound is part.step and fixed == 1):
                self.session.refuse(
                    "DPA111", f"a slice with the fixed bound {fixed} means something else at the real shape"
                )
            if isinstance(bound, ShapeInt) and bound.batch and size != plain_value(bound):
                self.session.refuse("DPA111", "a slice by the number of rows of something that has other rows")

    def _slice(self, tensor: Tensor, axis: int, part: slice) -> slice:
        ends = [None if b is None else self._bound(tensor, axis, b) for b in (part.start, part.stop)]
        size = plain_shape(tensor)[axis]
        step = part.step
        if step is not None and plain_value(plain_number(step)) != 1 and not self._is_rows(tensor, axis):
            stepped = len(range(*slice(ends[0], ends[1], int(plain_value(plain_number(step)))).indices(size)))
            if not self.shapes.is_real:
                self.axes.taken_apart(size)
                self.joints.disturb(self.session, stepped, "taken in steps")
        return slice(ends[0], ends[1], step)

    def size(self, value: Any) -> int:
        """A number from shapes that is used as a size, as a plain one."""
        small = int(size_value(value))
        if not self.shapes.is_real:
            self.joints.learn(small, int(value.full))
        return small

    # ---- places -----------------------------------------------------------------------------------------------

    def _bound(self, tensor: Tensor, axis: int, bound: Any) -> int:
        """A place between elements as a plain number."""
        size = plain_shape(tensor)[axis]
        if not is_shape_number(bound):
            place = operator.index(plain_number(bound))
            if abs(place) > 1:
                self._note(tensor, axis, self._from_either_end(tensor, axis, place), False)
            return place
        place = int(plain_value(bound))
        pair = (place, int(bound.full))
        if self.shapes.is_real or self._is_rows(tensor, axis) or place < 0 or not self.joints.is_joint(size, pair):
            size_value(bound)
        if pair[0] == pair[1] or place < 0:
            self._note(tensor, axis, self._from_either_end(tensor, axis, place), True)
        else:
            self._note(tensor, axis, [pair], True)
        return place

    def _index(self, tensor: Tensor, axis: int, index: Any) -> int:
        """The place of one element as a plain number."""
        place = int(plain_value(plain_number(index)))
        size_value(index)
        if is_shape_number(index) and place != index.full:
            self._note(tensor, axis, [(place, int(index.full)), (place + 1, int(index.full) + 1)], True)
        elif not -2 <= place <= 1:
            sides = (place, place + 1)
            self._note(tensor, axis, [p for s in sides for p in self._from_either_end(tensor, axis, s)], False)
        return place

    def _from_either_end(self, tensor: Tensor, axis: int, place: int) -> list[Place]:
        if place >= 0 or self._is_rows(tensor, axis) or self.shapes.is_real:
            return [(place, place)]
        size, real = plain_shape(tensor)[axis], self.axes.real_size(tensor, axis)
        if real is None:
            self.joints.disturb(self.session, size, "cut at a distance from the end")
            return []
        return [(size + place, real + place)]

    def _note(self, tensor: Tensor, axis: int, places: Sequence[Place], by_size: bool) -> None:
        size = plain_shape(tensor)[axis]
        if self.shapes.is_real or self._is_rows(tensor, axis):
            return
        real = self.axes.real_size(tensor, axis)
        if real is not None and size > 1:
            places = [*places, (size, real)]
        elif any(small >= size and small != full for small, full in places):
            self.session.mark_line()
            self.session.refuse("DPA111", "a cut at the end of an axis whose real size is not known")
        if by_size:
            for place in places:
                self.session.note_public("a cut at a joint", float(self.joints.is_joint(size, place)))
        self.session.mark_line()
        self.joints.add(self.session, size, places, "a cut")
        for (a, b), (c, d) in zip([(0, 0), *sorted(places)], sorted(places), strict=False):
            self.joints.learn(c - a, d - b)

    def has_rows(self, tensor: Any) -> bool:
        return isinstance(tensor, Tensor) and plain_shape(tensor)[:1] == (self.shapes.shrinking.rows,)

    def _is_rows(self, tensor: Tensor, axis: int) -> bool:
        return plain_shape(tensor)[axis] == self.shapes.shrinking.rows

    def cuts_rows(self, args: Any, kwargs: Any) -> bool:
        """Whether rows are cut into chunks of a fixed size."""
        named = dict(zip(("tensor", "split_size_or_sections", "dim"), args, strict=False)) | kwargs
        size = named.get("split_size_or_sections", named.get("split_size"))
        return type(size) is int and size >= 1 and named.get("dim", 0) == 0 and self.has_rows(args[0])


def _by_axis(tensor: Tensor, index: Any) -> list[tuple[int, Any, int]]:
    """The parts of an index, each with its place in it and the axis that it is for."""
    parts = list(index) if isinstance(index, tuple) else [index]
    taken = [_axes_taken(p) for p in parts]
    axis, found = 0, []
    for place, part in enumerate(parts):
        if part is Ellipsis:
            axis = len(plain_shape(tensor)) - sum(taken[place + 1 :])
        else:
            if taken[place] and axis < len(plain_shape(tensor)):
                found.append((place, part, axis))
            axis += taken[place]
    return found


def _axes_taken(part: Any) -> int:
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    is_mask = isinstance(part, Tensor) and part.dtype is torch.bool
    return len(plain_shape(part)) if is_mask else 1


def _fixed(bound: Any) -> int | None:
    """The bound of a slice as a plain int, where it is the same number at every shape."""
    if bound is None or (is_shape_number(bound) and plain_value(bound) != bound.full):
        return None
    return operator.index(plain_value(plain_number(bound)))


def _by_rows(index: Any) -> bool:
    """Whether an index is bounded by the number of rows."""
    parts = index if isinstance(index, tuple) else (index,)
    bounds = [b for p in parts if isinstance(p, slice) for b in (p.start, p.stop)]
    return any(isinstance(b, ShapeInt) and b.batch for b in bounds)


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
