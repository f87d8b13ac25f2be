"""Operations that move elements about: the very same operation is run on the array of ids.

Also indexing with masks and indices, where what is moved may itself be private.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .handlers_elementwise import truth
from .operands import Handler, Operands
from .shadow import Ids, is_short

MOVEMENT = frozenset(
    {
        "clone", "cat", "stack", "repeat", "flip", "roll", "index_select", "contiguous", "expand_copy", "view_copy",
        "permute_copy", "slice_copy", "select_copy", "unsqueeze_copy", "squeeze_copy", "t_copy", "transpose_copy",
        "_reshape_copy", "unfold_copy", "lift_fresh_copy",
        "split_copy", "split_with_sizes_copy", "unbind_copy", "alias_copy", "detach_copy", "as_strided_copy",
        "take", "diagonal_copy", "rot90", "block_diag",
    }
)  # fmt: skip
"""Every element of the result is an element of an argument, at a place that does not depend on values."""


def move(o: Operands, function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Run ``function`` on ids. Arguments that are integer tensors of constants (indices) stay as they are."""

    def swap(argument: Any, is_index: bool = False) -> Any:
        if isinstance(argument, Tensor):
            if is_index:
                _require_constant_index(o, argument)
                return argument
            return torch.from_numpy(np.array(o.ids(argument), dtype=np.int64))
        if isinstance(argument, list | tuple):
            return [swap(a) for a in argument]
        return argument

    moved = [swap(a, is_index=k > 0 and isinstance(a, Tensor)) for k, a in enumerate(args)]
    named = {k: v for k, v in kwargs.items() if k not in {"memory_format", "dtype", "layout", "device", "pin_memory"}}
    out = function(*moved, **named)
    if isinstance(out, list | tuple):
        return [part.numpy() for part in out]
    return out.numpy()


def _require_constant_index(o: Operands, index: Tensor) -> None:
    if not o.shadows.is_constant(index) and not all(o.table.is_known(x) for x in o.ids(index).reshape(-1).tolist()):
        if any(o.table.touch[x] for x in o.ids(index).reshape(-1).tolist()):
            o.session.refuse("DPA107", "an index depends on private data")
        o.session.refuse("DPA109", "private data is indexed by a public value that is not known in advance")


def _copy(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    target, source = args[0], args[1]
    ids = o.ids(source)
    if source.dtype.is_floating_point and not target.dtype.is_floating_point and not o.shadows.is_constant(source):
        ids = o.each(
            lambda x: x if o.table.is_known(x) else o.session.opaque("trunc", *o.touched([x])), o.settled(source)
        )
    if target.dtype is torch.bool and source.dtype is not torch.bool:
        ids = o.each(lambda x: truth(o, x), o.settled(source))
    if is_short(target.dtype):
        ids = o.settled(source)
    return np.array(np.broadcast_to(ids, tuple(target.shape)))


def _fill(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    shape = tuple((result if isinstance(result, Tensor) else args[0]).shape)
    value = args[1] if len(args) > 1 else 0
    return np.array(np.broadcast_to(o.ids(value), shape))


def _full_like(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return np.array(np.broadcast_to(o.ids(args[1]), tuple(result.shape)))


def _zeros(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return np.full(tuple(result.shape), o.table.zero, dtype=np.int64)


def _ones(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    if isinstance(args[0], Tensor):
        o.note_ones(args[0], result)
    return np.full(tuple(result.shape), o.table.one, dtype=np.int64)


def _is_open_mask(o: Operands, index: Any) -> bool:
    return (
        isinstance(index, Tensor)
        and index.dtype is torch.bool
        and not all(o.table.is_known(x) for x in o.ids(index).reshape(-1).tolist())
    )


def _index(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    """``x[i, j, ...]`` with indices that are known (open masks are met earlier, see ``masks.py``)."""
    for index in args[1]:
        if isinstance(index, Tensor):
            if _is_open_mask(o, index):
                o.session.refuse("DPA107", "the shape of a value depends on private data")
            _require_constant_index(o, index)
    source = torch.from_numpy(np.array(o.ids(args[0])))
    return np.array(torch.ops.aten.index(source, args[1]).numpy())


def _index_put(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    target, indices, values = args[0], args[1], args[2]
    accumulate = bool(kwargs.get("accumulate", args[3] if len(args) > 3 else False))
    ids = np.array(o.ids(target))
    if any(_is_open_mask(o, i) for i in indices if isinstance(i, Tensor)):
        mask = indices[0]
        if len(indices) != 1 or accumulate or o.ids(values).size != 1:
            o.session.refuse("DPA107", "the shape of a value depends on private data")
        wide = o.settled(mask).reshape(tuple(mask.shape) + (1,) * (ids.ndim - mask.dim()))
        return o.each(o.table.where, wide, o.settled(values).reshape(()), np.array(o.settled(target)))
    for index in indices:
        if isinstance(index, Tensor):
            _require_constant_index(o, index)
    if accumulate:
        o.session.refuse("DPA109", "index_put with accumulate is outside the verified set")
    given = np.unique(o.ids(values))
    counts = torch.ops.aten.index_put(torch.zeros(ids.shape), indices, torch.ones(()), True)
    if given.size > 1 and bool((counts > 1).any()):
        o.session.refuse("DPA109", "several values are written to one place, and which comes last is not defined")
    out = torch.ops.aten.index_put(torch.from_numpy(ids), indices, torch.from_numpy(np.array(o.ids(values))))
    return np.array(out.numpy())


def _gather(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    _require_constant_index(o, args[2])
    return np.array(torch.gather(torch.from_numpy(np.array(o.ids(args[0]))), args[1], args[2]).numpy())


def _index_add(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    _require_constant_index(o, args[2])
    alpha = float(kwargs.get("alpha", 1))
    ids, source = np.moveaxis(np.array(o.ids(args[0])), args[1], 0), np.moveaxis(o.ids(args[3]), args[1], 0)
    ids = ids.copy()
    for place, row in zip(args[2].tolist(), source, strict=True):
        ids[place] = o.each(lambda x, y: o.total([x, o.table.scale(y, alpha)]), ids[place], row)
    return np.moveaxis(ids, 0, args[1])


def _triangle(keep_lower: bool) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        diagonal = int(args[1]) if len(args) > 1 else int(kwargs.get("diagonal", 0))
        keep = np.tril if keep_lower else np.triu
        mask = keep(np.ones(tuple(result.shape), dtype=bool), diagonal)
        return np.where(mask, o.ids(args[0]), o.table.zero)

    return handler


def _pad(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    value = float(args[2]) if len(args) > 2 else float(kwargs.get("value", 0))
    shifted = torch.from_numpy(np.array(o.ids(args[0]))) + 1
    out = torch.ops.aten.constant_pad_nd(shifted, args[1], 0).numpy()
    return np.where(out == 0, o.table.constant(value), out - 1)


HANDLERS: dict[str, Handler] = {
    "copy": _copy, "fill": _fill, "zero": _fill, "full_like": _full_like, "zeros_like": _zeros, "ones_like": _ones,
    "new_zeros": _zeros, "new_ones": _ones, "index": _index, "index_put": _index_put, "_index_put_impl": _index_put,
    "gather": _gather, "index_add": _index_add, "tril": _triangle(True), "triu": _triangle(False),
    "constant_pad_nd": _pad,
}  # fmt: skip
