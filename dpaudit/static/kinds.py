"""Kinds of numbers: what integers, truth values, complex numbers and too short a float do to arithmetic on real numbers.

An expression stands for a real number. An integer tensor truncates what it is given and wraps around at its ends, a sum of truth
values is a truth value, and a number that float32 cannot hold is 0 or infinite where it meets one that is float32. Where an
operation would do any of these to what is not known, it is refused. Derived here.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .handlers_move import MOVEMENT
from .operands import Operands
from .shadow import Ids

_TRUTHS = frozenset(
    {
        "lt", "le", "gt", "ge", "eq", "ne", "logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or",
        "bitwise_not", "isnan", "isinf", "isfinite", "any", "all", "_to_copy", "copy", "mul", "amax", "amin", "max", "min",
        "minimum", "maximum",
        "zeros_like", "ones_like", "new_zeros", "new_ones", "zero",
    }
)  # fmt: skip
"""Operations whose result is a truth value as the expression says."""
_CARRYING = MOVEMENT | {"fill", "full_like", "where", "masked_fill", "index_put", "_index_put_impl", "index", "gather"}
"""Operations that pass values on: their result is a truth value where all that they are given are."""
_TO_INTEGERS = frozenset({"_to_copy", "copy", "max", "min", "zeros_like", "ones_like", "new_zeros", "new_ones", "zero"})
"""Operations on floats whose result may be integer: they truncate in the open, or give places."""
SMALLEST_NORMAL, LARGEST_FLOAT = 2.0**-126, float(np.finfo(np.float32).max)
_BOUNDED = 2.0**31


def check_results(
    o: Operands, name: str, handled: bool, inputs: Sequence[Tensor], outputs: Sequence[Tensor], parts: Sequence[Ids]
) -> None:
    """An operation on what is not all known ran; ``parts`` are the expressions of its results.

    Args:
        handled: they say what its results are, and not only what these depend on.

    Raises:
        Refusal: its results are not what the expressions say (DPA109).
    """
    open_inputs = [t for t in inputs if not o.shadows.is_constant(t)]
    for tensor, ids in zip(outputs, parts, strict=True):
        if tensor.dtype.is_floating_point or not handled:
            continue
        if tensor.is_complex():
            o.session.refuse("DPA109", "complex numbers are outside the verified set")
        if tensor.dtype is torch.bool:
            _check_truths(o, name, open_inputs)
        else:
            _check_integers(o, name, open_inputs, tensor, ids)
    if any(t.is_complex() for t in inputs):
        o.session.refuse("DPA109", "complex numbers are outside the verified set")


def _check_truths(o: Operands, name: str, open_inputs: Sequence[Tensor]) -> None:
    if name in _TRUTHS or (name in _CARRYING and all(t.dtype is torch.bool or _is_index(t) for t in open_inputs)):
        return
    o.session.refuse("DPA109", f"{name} gives a truth value, and not the number that its arguments give")


def _is_index(tensor: Tensor) -> bool:
    return tensor.dtype is torch.int64


def _check_integers(o: Operands, name: str, open_inputs: Sequence[Tensor], tensor: Tensor, ids: Ids) -> None:
    if any(t.dtype.is_floating_point for t in open_inputs) and name not in _TO_INTEGERS:
        o.session.refuse("DPA109", f"{name} makes an integer of what is none")
    limits = torch.iinfo(tensor.dtype)
    for x in np.unique(ids).tolist():
        if not _fits(o, x, limits):
            o.session.refuse("DPA109", f"{name} in {tensor.dtype} wraps around beyond [{limits.min}, {limits.max}]")


def _fits(o: Operands, x: int, limits: Any) -> bool:
    """Whether an integer stays within its type: by its range, as a sum of small terms, or as what may be anything."""
    table = o.table
    if table.kind(x) in {"opaque", "p", "c"}:
        return True
    low, high = table.range(x)
    if limits.min <= low and high <= limits.max:
        return True
    if limits.max < _BOUNDED - 1:
        return False
    constant, terms = table.linear(x)
    ends = [abs(k) * max(map(abs, table.range(t))) for t, k in terms]
    return abs(constant) <= _BOUNDED and all(end <= _BOUNDED for end in ends)


def check_numbers(o: Operands, inputs: Sequence[Tensor], arguments: Any) -> None:
    """Known numbers that meet float32 are numbers that it holds."""
    if not any(t.dtype is torch.float32 for t in inputs):
        return
    for value in _known(o, arguments):
        if 0 < abs(value) < SMALLEST_NORMAL or LARGEST_FLOAT < abs(value) < math.inf:
            o.table.floats.depart(f"{value:g} is 0 or infinite where it meets float32")


def _known(o: Operands, value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield float(value)
    elif isinstance(value, Tensor):
        if value.dtype is torch.float64 and value.dim() == 0 and o.shadows.is_constant(value):
            yield float(value.detach().numpy())
    elif isinstance(value, dict):
        for part in value.values():
            yield from _known(o, part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _known(o, part)
