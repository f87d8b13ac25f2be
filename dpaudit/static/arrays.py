"""ArrayProxy: stands in for the NumPy array of a tensor that is tracked.

NumPy's own protocol (``__array_ufunc__`` and ``__array_function__``) hands every operation to its torch twin; what has
no twin here is refused.
"""

from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from .numpy_twins import FUNCTIONS, torch_dtype

_UFUNCS: dict[str, str] = {
    "add": "add", "subtract": "sub", "multiply": "mul", "true_divide": "div", "divide": "div", "power": "pow",
    "sqrt": "sqrt", "exp": "exp", "log": "log", "tanh": "tanh", "square": "square", "absolute": "abs", "negative": "neg",
    "minimum": "minimum", "maximum": "maximum", "sign": "sign", "reciprocal": "reciprocal", "less": "lt",
    "less_equal": "le", "greater": "gt", "greater_equal": "ge", "equal": "eq", "not_equal": "ne", "matmul": "matmul",
    "logical_and": "logical_and", "logical_or": "logical_or", "logical_not": "logical_not", "fmin": "minimum",
    "fmax": "maximum", "log1p": "log1p", "expm1": "expm1", "isfinite": "isfinite", "isnan": "isnan",
}  # fmt: skip


def _torch_argument(value: Any) -> Any:
    if isinstance(value, ArrayProxy):
        return value.tensor
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return type(value)(_torch_argument(v) for v in value)
    return value


def _given(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: _torch_argument(v) for k, v in kwargs.items() if v is not None and v is not np._NoValue}


def _reduced(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in kwargs.items() if v is not np._NoValue and (v is not None or k == "axis")}


def _untracked(name: str) -> NoReturn:
    raise TypeError(f"numpy.{name} on tracked values is outside the verified set of operations")


def _proxied(value: Any) -> Any:
    if isinstance(value, Tensor):
        # NumPy gives a number, which is no view and never changes, where torch gives a tensor without axes.
        return ArrayProxy(value.clone(), is_scalar=True) if value.dim() == 0 else ArrayProxy(value)
    if isinstance(value, list | tuple):
        return type(value)(_proxied(v) for v in value)
    return value


class ArrayProxy(np.lib.mixins.NDArrayOperatorsMixin):
    """Looks like ``numpy.ndarray`` where mechanisms use one. Holds the torch tensor that is tracked."""

    def __init__(self, tensor: Tensor, is_scalar: bool = False) -> None:
        self.tensor, self.is_scalar = tensor, is_scalar

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        twin = _UFUNCS.get(ufunc.__name__)
        if twin is None or method not in {"__call__", "reduce"}:
            _untracked(ufunc.__name__)
        out = kwargs.pop("out", None)
        if method == "__call__" and kwargs:
            _untracked(f"{ufunc.__name__} with {', '.join(kwargs)}")
        arguments = [_torch_argument(i) for i in inputs]
        if method == "reduce":
            if ufunc.__name__ != "add":
                _untracked(f"{ufunc.__name__}.reduce")
            # The reduction of a ufunc is over the first axis where none is given, that of np.sum over all.
            result = FUNCTIONS["sum"](arguments[0], **{"axis": 0, **_reduced(kwargs)})
        else:
            tensors = [
                a if isinstance(a, Tensor) or twin in {"pow", "add", "sub", "mul", "div"} else torch.tensor(a)
                for a in arguments
            ]
            if not isinstance(tensors[0], Tensor):
                tensors[0] = torch.tensor(tensors[0])
            result = getattr(torch, twin)(*tensors)
        if out is not None and not out[0].is_scalar:
            out[0].tensor.copy_(result)
            return out[0]
        return _proxied(result)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        twin = FUNCTIONS.get(function.__name__)
        if twin is None:
            _untracked(function.__name__)
        return _proxied(twin(*[_torch_argument(a) for a in args], **_given(kwargs)))

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _untracked("array")

    def __getitem__(self, index: Any) -> Any:
        return _proxied(self.tensor[_torch_argument(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tensor[_torch_argument(index)] = _torch_argument(value)

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Any:
        return (_proxied(row) for row in self.tensor)

    def __bool__(self) -> bool:
        return bool(self.tensor)

    def __float__(self) -> float:
        return self.tensor.item()

    @property
    def shape(self) -> Any:
        return self.tensor.shape

    @property
    def ndim(self) -> int:
        return self.tensor.dim()

    @property
    def size(self) -> Any:
        return self.tensor.numel()

    @property
    def dtype(self) -> Any:
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    @property
    def T(self) -> "ArrayProxy":
        return ArrayProxy(self.tensor.t())

    def astype(self, dtype: Any, *, copy: bool = True) -> "ArrayProxy":
        kind = torch_dtype(dtype)
        return ArrayProxy(self.tensor.to(kind, copy=copy))

    def copy(self) -> "ArrayProxy":
        return ArrayProxy(self.tensor.clone())

    def item(self) -> Any:
        return self.tensor.item()

    def tolist(self) -> Any:
        return self.tensor.tolist()

    def reshape(self, *shape: Any) -> "ArrayProxy":
        return ArrayProxy(self.tensor.reshape(*shape))

    def ravel(self) -> "ArrayProxy":
        return ArrayProxy(self.tensor.reshape(-1))

    def flatten(self) -> "ArrayProxy":
        return ArrayProxy(self.tensor.reshape(-1).clone())

    def sum(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("sum", args, kwargs)

    def mean(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("mean", args, kwargs)

    def prod(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("prod", args, kwargs)

    def max(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("max", args, kwargs)

    def min(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("min", args, kwargs)

    def any(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("any", args, kwargs)

    def all(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("all", args, kwargs)

    def dot(self, *args: Any) -> Any:
        return self._method("dot", args, {})

    def squeeze(self, *args: Any, **kwargs: Any) -> Any:
        return self._method("squeeze", args, kwargs)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        return self._method("clip", (min, max), {})

    def _method(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _proxied(FUNCTIONS[name](self.tensor, *[_torch_argument(a) for a in args], **_given(kwargs)))
