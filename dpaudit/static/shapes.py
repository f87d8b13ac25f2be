"""Shapes: the small shape that runs in place of the real one, and the numbers that a candidate may read from it."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch._C import DisableTorchFunction

from .session import Session
from .shape_numbers import ShapeInt

Shape = tuple[int, ...]
SMALL_ENOUGH = 40
"""Models with at most this many coordinates run at their real shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shrinking:
    """Real parameter shapes with the shapes and the number of rows that are run in their place.

    Every axis longer than 1 stays longer than 1, so that one coordinate never stands for a whole axis unnoticed.
    """

    real: tuple[Shape, ...]
    tiny: tuple[Shape, ...]
    rows: int

    chunks: int = 2
    """Into how many chunks rows are cut, where the candidate cuts them into chunks of a fixed size."""

    @property
    def is_real(self) -> bool:
        return self.real == self.tiny

    @classmethod
    def first(cls, real: Sequence[Shape], rows: int | None = None) -> "Shrinking":
        return cls._of(real, rows, {})

    def second(self) -> "Shrinking":
        """Another shrinking of the same shapes that agrees with this one nowhere it need not."""
        return self._of(self.real, None, dict(zip(self.real, self.tiny, strict=True)), fewest_rows=self.rows + 1)

    def in_chunks(self, chunks: int, other: "Shrinking | None" = None) -> "Shrinking":
        """The same with as many rows as it takes that no chunk of rows has the size of anything else, nor of ``other``'s."""
        taken = self._sizes()
        if other is not None:
            taken |= other._sizes() | {other.rows, other.chunk, other.last_chunk}
        for rows in itertools.count(chunks):
            found = replace(self, rows=rows, chunks=chunks)
            if found.last_chunk >= 1 and not {rows, found.chunk, found.last_chunk} & taken:
                return found
        raise AssertionError

    def _sizes(self) -> set[int]:
        """Axes and counts; and the number of tensors, so that an index into a list of them is never taken for that of a row."""
        sizes = {n for s in self.tiny for n in (*s, math.prod(s))}
        return sizes | {sum(math.prod(s) for s in self.tiny), len(self.tiny)}

    @property
    def chunk(self) -> int:
        """Rows in every chunk but the last."""
        return -(-self.rows // self.chunks)

    @property
    def last_chunk(self) -> int:
        return self.rows - (self.chunks - 1) * self.chunk

    @classmethod
    def _of(
        cls, real: Sequence[Shape], rows: int | None, avoid: Mapping[Shape, Shape], fewest_rows: int = 3
    ) -> "Shrinking":
        real = tuple(tuple(s) for s in real)
        if sum(math.prod(s) for s in real) <= SMALL_ENOUGH:
            tiny = real
        else:
            chosen = _choose(sorted(set(real), key=lambda s: (len(s), s)), avoid, len(real))
            tiny = tuple(chosen[s] for s in real)
        if rows is None:
            # Nor the number of tensors: an index into a list of them is then never taken for the index of a row.
            taken = {n for s in tiny for n in (*s, math.prod(s))} | {sum(math.prod(s) for s in tiny), len(tiny)}
            rows = next(r for r in itertools.count(fewest_rows) if r not in taken)
        return cls(real=real, tiny=tiny, rows=rows)


def _choose(shapes: Sequence[Shape], avoid: Mapping[Shape, Shape], tensors: int) -> dict[Shape, Shape]:
    """A small shape for every real one; different real shapes get different counts, so that a size names its shape.

    Args:
        avoid: the small shapes of an earlier choice: no axis keeps its size, nor a shape its count, where there is a choice.
        tensors: their number, which is no size or count either, so that a list of one number a tensor is not taken for an axis.
    """
    counts: set[int] = set()
    chosen: dict[Shape, Shape] = {}
    largest, largest_real = 0, 0
    for shape in sorted(shapes, key=math.prod) if avoid else shapes:
        options = sorted(
            itertools.product(*(_sizes(n, len(shape)) for n in shape)), key=lambda s: (math.prod(s), max(s, default=0))
        )
        options = [s for s in options if tensors not in (*s, math.prod(s))] or options
        before = avoid.get(shape)
        if before is not None:
            options = [s for s in options if math.prod(s) != math.prod(before)] or options
            options = [s for s in options if all(n != m for n, m in zip(s, before, strict=True) if m > 1)] or options
        if avoid and math.prod(shape) > largest_real:
            # Counts in the order of the real ones: a part that reaches over another in reality then does so here too.
            options = [s for s in options if math.prod(s) > largest] or options
        fresh = [s for s in options if math.prod(s) not in counts]
        chosen[shape] = (fresh or options)[0]
        counts.add(math.prod(chosen[shape]))
        largest, largest_real = max(largest, math.prod(chosen[shape])), math.prod(shape)
    return chosen


def _sizes(real: int, rank: int) -> tuple[int, ...]:
    if real == 1:
        return (1,)
    return tuple(n for n in (range(2, 65) if rank == 1 else (2, 3, 4, 5)) if n <= real) or (real,)


@functools.cache
def sizes_of(shrinking: Shrinking, real_rows: int) -> frozenset[tuple[int, int]]:
    """What may be used as a size, small and real: products of axes of a tensor, sums of counts of neighbours, times rows."""
    pairs = {(1, 1)}
    for tiny, real in zip(shrinking.tiny, shrinking.real, strict=True):
        own = {(1, 1)}
        for small, full in zip(tiny, real, strict=True):
            own |= {(a * small, b * full) for a, b in own}
        pairs |= own
    counts = [(math.prod(t), math.prod(r)) for t, r in zip(shrinking.tiny, shrinking.real, strict=True)]
    for first in range(len(counts)):
        small = full = 0
        for count in counts[first:]:
            small, full = small + count[0], full + count[1]
            pairs.add((small, full))
    return frozenset(pairs | {(a * shrinking.rows, b * real_rows) for a, b in pairs})


def chunk_size(shrinking: Shrinking, session: Session) -> int:
    """Size of the chunks that are run in place of chunks of a fixed size; 0 where there are no rows.

    How many there are, and how large they are, differs between the two shrinkings, so that a candidate which counts them or
    reads their sizes computes with other numbers. That each row is treated like any other is checked at the end.
    """
    session.in_chunks = True
    return shrinking.chunk


class ShapeBook:
    """Real sizes of the axes of tensors that are met, as far as they are known.

    An axis is recognised by its tiny size among the axes of the per-sample gradients; where that is ambiguous the
    size is left untracked, an ordinary number, which the comparison of two shrinkings then decides about.
    """

    def __init__(self, session: Session, shrinking: Shrinking) -> None:
        self.session = session
        self.shrinking = shrinking
        self.is_real = shrinking.is_real
        session.sizes = sizes_of(shrinking, session.real_rows)
        self._by_shape: dict[Shape, tuple[tuple[float, bool], ...]] = {}
        rows, real_rows = shrinking.rows, float(session.real_rows)
        for tiny, real in zip(shrinking.tiny, shrinking.real, strict=True):
            axes = tuple((float(n), False) for n in real)
            batch = (real_rows, True)
            flat = (float(math.prod(real)), False)
            for shape, full in (
                ((rows, *tiny), (batch, *axes)),
                (tiny, axes),
                ((rows, math.prod(tiny)), (batch, flat)),
                ((math.prod(tiny),), (flat,)),
            ):
                self._remember(shape, full)
        total = float(sum(math.prod(s) for s in shrinking.real)), False
        tiny_total = sum(math.prod(s) for s in shrinking.tiny)
        self._remember((rows, tiny_total), ((real_rows, True), total))
        self._remember((tiny_total,), (total,))
        self._remember((rows,), ((real_rows, True),))

    def _remember(self, shape: Shape, full: tuple[tuple[float, bool], ...]) -> None:
        known = self._by_shape.get(shape)
        if known is not None and known != full:
            self._by_shape[shape] = ()
        elif known is None:
            self._by_shape[shape] = full

    def of(self, tensor: Tensor) -> Any:
        """The shape, with numbers that know their real value."""
        tiny = plain_shape(tensor)
        full = self._by_shape.get(tiny)
        if not full:
            return ShapeTuple(self._partial(tiny))
        return ShapeTuple(
            ShapeInt(n, int(f), batch, self.session) if f != n or batch else n
            for n, (f, batch) in zip(tiny, full, strict=True)
        )

    def real_size(self, tensor: Tensor, axis: int) -> int | None:
        """The real size of one axis; ``None`` where the shape is not recognised."""
        tiny = plain_shape(tensor)
        if tiny[axis] == 1:
            return 1
        full = self._by_shape.get(tiny)
        if full:
            return int(full[axis][0])
        if axis == 0:
            return self.session.real_rows if tiny[0] == self.shrinking.rows and self._rows_are_unique else None
        columns = self._by_shape.get(tiny[1:])
        return int(columns[axis - 1][0]) if columns else None

    def _partial(self, tiny: Shape) -> Shape:
        """Rows are recognised in any tensor that starts with them, since no other first axis has their number.

        So are the other axes of part of the rows: ``grad[:0].flatten(1)`` has the columns of ``grad.flatten(1)``.
        """
        if not tiny:
            return tiny
        rows, columns = tiny[0], self._columns(tiny[1:])
        if rows == self.shrinking.rows and self._rows_are_unique:
            return (ShapeInt(rows, self.session.real_rows, True, self.session), *columns)
        return (rows, *columns)

    def _columns(self, tiny: Shape) -> Shape:
        full = self._by_shape.get(tiny) or tuple((float(n), False) for n in tiny)
        if any(batch for _, batch in full):
            return tiny
        return tuple(
            ShapeInt(n, int(f), False, self.session) if f != n else n for n, (f, _) in zip(tiny, full, strict=True)
        )

    @property
    def _rows_are_unique(self) -> bool:
        sizes = {n for s in self.shrinking.tiny for n in s} | {math.prod(s) for s in self.shrinking.tiny}
        return self.shrinking.rows not in sizes

    def count(self, tensor: Tensor) -> Any:
        result: Any = 1
        for n in self.of(tensor):
            result = result * n
        return result


class ShapeTuple(tuple):  # type: ignore[type-arg]
    """What ``tensor.shape`` returns: a tuple with the methods of ``torch.Size``."""

    __slots__ = ()

    def numel(self) -> Any:
        result: Any = 1
        for n in self:
            result = result * n
        return result

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return ShapeTuple(found) if isinstance(index, slice) else found


def plain_shape(tensor: Tensor) -> Shape:
    """The shape of the tensor that is really run."""
    with DisableTorchFunction():
        return tuple(tensor.size())
