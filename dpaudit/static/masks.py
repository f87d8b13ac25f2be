"""Boolean masks that depend on data.

``v[m]`` has a shape that depends on ``m``. It is represented at full length, with a hole wherever ``m`` is false;
``f[m] = expr(v[m])`` fills back under the same mask, where no hole can remain. A hole that reaches anything else, a
sum over the compressed axis for instance, is refused when the value is released.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .operands import Operands
from .shadow import Ids


def is_open_mask(o: Operands, index: Any) -> bool:
    """Whether ``index`` is one boolean tensor whose values are not known constants."""
    return isinstance(index, Tensor) and index.dtype is torch.bool and not o.shadows.is_constant(index)


def _widened(o: Operands, mask: Tensor, shape: tuple[int, ...]) -> Ids:
    ids = o.settled(mask)
    if tuple(shape[: ids.ndim]) != ids.shape:
        o.session.refuse("DPA109", f"a mask of shape {ids.shape} does not fit a tensor of shape {shape}")
    return np.array(np.broadcast_to(ids.reshape(ids.shape + (1,) * (len(shape) - ids.ndim)), shape))


def compress(o: Operands, tensor: Tensor, mask: Tensor) -> Tensor:
    """``tensor[mask]`` at full length, the mask's axes flattened into one."""
    o.is_masked = True
    shape = _shape(o, tensor)
    ids = o.each(lambda m, x: o.table.where(m, x, o.table.hole), _widened(o, mask, shape), o.settled(tensor))
    flat = ids.reshape((-1, *shape[mask.dim() :]))
    o.session.inside = True
    try:
        out = torch.zeros(flat.shape, dtype=tensor.dtype)
    finally:
        o.session.inside = False
    o.shadows.attach(out, flat)
    return out


def write_compressed(o: Operands, tensor: Tensor, mask: Tensor, value: Any) -> None:
    """``tensor[mask] = value``."""
    shape = _shape(o, tensor)
    wide = _widened(o, mask, shape)
    new = o.settled(value)
    rows = int(np.prod(_shape(o, mask)))
    if new.ndim and new.shape[0] == rows and new.size == wide.size:
        new = new.reshape(shape)
    elif not (isinstance(value, Tensor) and new.ndim <= len(shape) - mask.dim()) and new.ndim:
        o.session.refuse("DPA107", "values are written through a mask that is not the one they were read through")
    filled = o.each(
        lambda m, v, x: o.table.where(m, assume(o, v, m), x),
        wide,
        np.array(np.broadcast_to(new, shape)),
        o.settled(tensor),
    )
    o.shadows.write(tensor, filled)


def _shape(o: Operands, tensor: Tensor) -> tuple[int, ...]:
    return o.ids(tensor).shape


def assume(o: Operands, x: int, condition: int) -> int:
    """``x`` simplified under the assumption that ``condition`` holds, as far as holes are concerned."""
    table = o.table
    if not table.has_hole(x):
        return x
    node = table.nodes[x]

    def again(y: int) -> int:
        return assume(o, y, condition)

    match node[0]:
        case "where":
            c, a, b = table.children(x)
            if c == condition:
                return again(a)
            return table.where(c, again(a), again(b))
        case "lin":
            constant, terms = table.linear(x)
            return table.add([table.constant(constant), *(table.scale(again(t), k) for t, k in terms)])
        case "mul":
            return table.multiply([table.power(again(f), e) for f, e in table.factors(x)[1]])
        case "min" | "max":
            return table.extreme(str(node[0]), [again(c) for c in table.children(x)])
        case "abs":
            return table.absolute(again(table.children(x)[0]))
        case "fun":
            return table.function(str(node[1]), again(table.children(x)[0]))
        case _:
            return x
