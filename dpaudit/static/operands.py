"""Operands: what handlers need to read arguments as arrays of expression ids."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor, UntypedStorage

from .expressions import Table
from .session import Session
from .shadow import Ids, ShadowMemory

Handler = Callable[["Operands", str, Sequence[Any], dict[str, Any], Any], Any]
"""``handler(operands, overload, args, kwargs, result)`` returns ids for the result, or a list of them."""


class Operands:
    """Reading and combining ids, elementwise with broadcasting."""

    def __init__(self, session: Session, shadows: ShadowMemory) -> None:
        self.session = session
        self.shadows = shadows
        self.table: Table = session.table
        self.is_fixed: Callable[[int], bool] = lambda size: False
        """Whether axes of a small size have that size in reality too."""
        self.real_size: Callable[[Tensor, int], int | None] = lambda tensor, axis: None
        """The real size of an axis of a tensor, as far as it is known."""
        self.is_masked = False
        """A private mask has left out elements of some tensor."""
        self._ones_by_row: dict[int, UntypedStorage] = {}
        """Storages of ones with one element a row; held, so that no other takes their place."""

    def ids(self, argument: Any) -> Ids:
        """Ids of a tensor, or of a plain number as a 0-d array."""
        if isinstance(argument, Tensor):
            return self.shadows.of(argument)
        return np.array(self.table.constant(float(argument)), dtype=np.int64)

    def holds_holes(self, tensor: Tensor) -> bool:
        """Whether a private mask may have left out elements of a tensor."""
        return any(self.table.has_hole(x) for x in self.ids(tensor).reshape(-1).tolist())

    def settled(self, argument: Any) -> Ids:
        ids = self.ids(argument)
        return np.array(self.session.settle_all(ids.reshape(-1).tolist()), dtype=np.int64).reshape(ids.shape)

    def each(self, function: Callable[..., int], *arrays: Ids) -> Ids:
        """Apply ``function`` to ids elementwise, once for every distinct combination."""
        if len(arrays) == 1:
            (array,) = arrays
            flat = array.reshape(-1).tolist()
            known = {x: function(x) for x in dict.fromkeys(flat)}
            return np.array([known[x] for x in flat], dtype=np.int64).reshape(array.shape)
        joined = np.broadcast_arrays(*arrays)
        rows = list(zip(*(a.reshape(-1).tolist() for a in joined), strict=True))
        seen = {row: function(*row) for row in dict.fromkeys(rows)}
        return np.array([seen[row] for row in rows], dtype=np.int64).reshape(joined[0].shape)

    def product(self, a: int, b: int) -> int:
        """``a * b``: linear where one side is a known number, else both sides are settled first."""
        table = self.table
        known = table.value(a)
        if known is not None:
            return table.scale(b, known)
        known = table.value(b)
        if known is not None:
            return table.scale(a, known)
        return table.multiply([self.session.settle(a), self.session.settle(b)])

    def total(self, parts: Sequence[int]) -> int:
        """Sum; two or more noisy private parts are released one by one first, which charges them in full."""
        if len(parts) == 1:
            return parts[0]
        touch, flags = self.table.touch, self.table.flags
        noisy = [x for x in parts if touch[x] and flags[x] & 1]
        if len(noisy) > 1:
            parts = self.session.settle_all(parts)
        return self.table.add(parts)

    def total_of_axis(self, parts: Sequence[int], divisor: float = 1.0) -> int:
        """Sum along an axis, divided. There may be more terms at the real shape.

        Known numbers among others are therefore noted, and a sum of public unknowns is one public unknown with a range for any
        number of them. (For private terms the ranges of the table see to it.)
        """
        table = self.table
        total = table.scale(self.total(parts), 1 / divisor)
        if len(parts) < 2 or table.is_known(total) or self.is_fixed(len(parts)):
            return total
        for value in sorted(v for v in map(table.value, parts) if v):
            self.session.note_public("known numbers in a sum", float(f"{value:.9g}"))
        if table.touch[total] or table.has_noise(total) or not (table.longer_axes or table.more_rows):
            return total
        ends = [table.range(p) for p in parts]
        low, high = min(e[0] for e in ends), max(e[1] for e in ends)
        if divisor != len(parts):
            low, high = (0.0 if low >= 0 else -math.inf), (0.0 if high <= 0 else math.inf)
        return table.public(("along an axis", total), (low, high))

    def note_ones(self, like: Tensor, made: Tensor) -> None:
        """``made`` holds ones, with the axis of ``like``: kept in mind where each element of ``like`` is of a row of its own."""
        session, touch = self.session, self.table.touch
        if not session.sampled or like.dim() != 1 or like.numel() != session.tiny_rows or session.tiny_rows < 2:
            return
        if [touch[x] for x in self.ids(like).tolist()] == [1 << row for row in range(session.tiny_rows)]:
            storage = made.untyped_storage()
            self._ones_by_row[storage._cdata] = storage

    def rows_counted(self, tensor: Tensor) -> Ids | None:
        """The sum of a whole tensor of ones that was made with the axis of the rows: that many rows, which is private.

        ``None`` for anything else: an axis of the same size at the small shape may be another one.
        """
        storage = tensor.untyped_storage()
        if storage._cdata not in self._ones_by_row or tensor.dim() != 1 or tensor.numel() != self.session.tiny_rows:
            return None
        if any(x != self.table.one for x in self.ids(tensor).tolist()):
            return None
        rows = [self.table.presence(row) for row in range(tensor.numel())]
        return np.array(self.table.add(rows), dtype=np.int64)

    def reduce(self, ids: Ids, axes: Sequence[int] | None, keepdim: bool, fold: Callable[[list[int]], int]) -> Ids:
        """Fold over ``axes`` (all if ``None`` or empty)."""
        rank = ids.ndim
        chosen = sorted(a % rank for a in axes) if axes else list(range(rank))
        kept = [a for a in range(rank) if a not in chosen]
        moved = np.transpose(ids, kept + chosen)
        shape = [ids.shape[a] for a in kept]
        folded_size = int(np.prod([ids.shape[a] for a in chosen])) if chosen else 1
        rows = moved.reshape(int(np.prod(shape)) if shape else 1, folded_size).tolist()
        folded = np.array([fold(row) for row in rows], dtype=np.int64)
        if keepdim:
            return folded.reshape([1 if a in chosen else ids.shape[a] for a in range(rank)])
        return folded.reshape(shape)

    def mean_divisor(self, parts: Sequence[int], columns: float | None) -> float:
        """Divisor of a mean; over rows it is the public number of rows, or a refusal where that number is private.

        Args:
            columns: how many there really are of what is not rows, where that is known.
        """
        touch = self.table.touch
        rows = {touch[x] for x in parts if touch[x] and touch[x] & (touch[x] - 1) == 0}
        tiny = self.session.tiny_rows
        if len(rows) > 1 and len(parts) % tiny == 0:
            if self.session.sampled:
                self.session.refuse(
                    "DPA108",
                    "a mean over rows divides by the realised batch size, which is private here; "
                    "divide the sum by the batch size that the constructor got",
                )
            return (columns or float(len(parts) // tiny)) * self.session.real_rows
        if columns is not None and any(touch[x] or self.table.has_noise(x) for x in parts):
            return columns
        return float(len(parts))

    def columns(self, tensor: Tensor, axes: Sequence[int] | None) -> float | None:
        """The real number of elements along axes that are not the rows; noted where it is not known.

        An axis with the number of rows is taken for the rows.
        """
        count = 1.0
        for axis in axes or range(tensor.dim()):
            small = int(tensor.shape[axis])
            if small == self.session.tiny_rows and axis % tensor.dim() == 0:
                continue
            real = small if self.is_fixed(small) else self.real_size(tensor, axis % tensor.dim())
            if real is None:
                self.session.note_public("a mean along an axis whose real size is not known", float(small))
                return None
            count *= real
        return count

    def touched(self, ids: Sequence[int]) -> tuple[int, int]:
        touch = flags = 0
        for x in ids:
            touch |= self.table.touch[x]
            flags |= self.table.flags[x]
        return touch, flags
