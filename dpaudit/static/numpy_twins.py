"""Functions of NumPy on tracked arrays, with NumPy's own signatures, done by torch.

Each takes what NumPy takes, under NumPy's names and in NumPy's order; a keyword that is not listed here (``out``, ``where``,
``initial``, ``order``) is a ``TypeError``, never ignored.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Axis = int | Sequence[int] | None
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bool": torch.bool}


def torch_dtype(dtype: Any) -> torch.dtype | None:
    """torch's name for one of the types that are followed.

    Raises:
        TypeError: it is another.
    """
    if dtype is None:
        return None
    name = np.dtype(dtype).name
    if name not in _DTYPES:
        raise TypeError(f"expected float32, float64 or bool for a tracked array, got {name}")
    return _DTYPES[name]


def axes_of(tensor: Tensor, axis: Axis) -> tuple[int, ...]:
    """The axes that are meant: all of them for ``None``."""
    if axis is None:
        return tuple(range(tensor.dim()))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _sum(a: Tensor, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:
    return torch.sum(a, dim=axes_of(a, axis), keepdim=keepdims, dtype=torch_dtype(dtype))


def _mean(a: Tensor, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:
    return torch.mean(a, dim=axes_of(a, axis), keepdim=keepdims, dtype=torch_dtype(dtype))


def _prod(a: Tensor, axis: int | None = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:
    if axis is None:
        if keepdims:
            raise TypeError("prod over all axes with keepdims is outside the verified set of operations")
        return torch.prod(a, dtype=torch_dtype(dtype))
    return torch.prod(a, axis, keepdim=keepdims, dtype=torch_dtype(dtype))


def _extreme(twin: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def function(a: Tensor, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
        return twin(a, dim=axes_of(a, axis), keepdim=keepdims)

    return function


def _truth(twin: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def function(a: Tensor, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
        if axis is None and not keepdims:
            return twin(a)
        return twin(a, dim=axes_of(a, axis), keepdim=keepdims)

    return function


def _norm(x: Tensor, ord: float | None = None, axis: Axis = None, keepdims: bool = False) -> Tensor:
    axes = axes_of(x, axis)
    if ord is not None and len(axes) != 1:
        raise TypeError("a norm of a matrix is outside the verified set of operations")
    norm: Tensor = torch.linalg.vector_norm(x, 2 if ord is None else ord, dim=axes, keepdim=keepdims)
    return norm


def _tensordot(a: Tensor, b: Tensor, axes: Any = 2) -> Tensor:
    if not isinstance(axes, int):
        axes = [[n] if isinstance(n, int) else list(n) for n in axes]
    product: Tensor = torch.tensordot(a, b, dims=axes)  # type: ignore[no-untyped-call,unused-ignore]
    return product


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.dim() in {1, 2} and b.dim() in {1, 2}):
        raise TypeError("dot of what is no vector or matrix is outside the verified set of operations")
    return torch.matmul(a, b)


def _clip(a: Tensor, a_min: Any = None, a_max: Any = None) -> Tensor:
    return torch.clamp(a, min=a_min, max=a_max)


def _sort(a: Tensor, axis: int = -1) -> Tensor:
    values: Tensor = torch.sort(a, dim=axis).values
    return values


def _transpose(a: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    return torch.permute(a, tuple(axes) if axes is not None else tuple(reversed(range(a.dim()))))


def _squeeze(a: Tensor, axis: int | None = None) -> Tensor:
    return torch.squeeze(a) if axis is None else torch.squeeze(a, axis)


def _where(condition: Tensor, x: Any, y: Any) -> Tensor:
    return torch.where(condition, x, y)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _sum,
    "mean": _mean,
    "prod": _prod,
    "amax": _extreme(torch.amax),
    "max": _extreme(torch.amax),
    "amin": _extreme(torch.amin),
    "min": _extreme(torch.amin),
    "any": _truth(torch.any),
    "all": _truth(torch.all),
    "norm": _norm,
    "tensordot": _tensordot,
    "dot": _dot,
    "einsum": lambda subscripts, *operands: torch.einsum(subscripts, *operands),
    "clip": _clip,
    "sort": _sort,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "where": _where,
    "concatenate": lambda arrays, axis=0: torch.cat(arrays, dim=axis),
    "stack": lambda arrays, axis=0: torch.stack(arrays, dim=axis),
    "expand_dims": lambda a, axis: torch.unsqueeze(a, axis),
    "reshape": lambda a, shape: torch.reshape(a, (shape,) if isinstance(shape, int) else shape),
    "ravel": lambda a: torch.reshape(a, (-1,)),
    "copy": lambda a: torch.clone(a),
    "zeros_like": lambda a, dtype=None: torch.zeros_like(a, dtype=torch_dtype(dtype)),
    "ones_like": lambda a, dtype=None: torch.ones_like(a, dtype=torch_dtype(dtype)),
    "quantile": lambda a, q, axis=None, *, keepdims=False: torch.quantile(a, q, dim=axis, keepdim=keepdims),
}
