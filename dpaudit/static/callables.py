"""What kind of function is called."""

from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor

from .arrays import ArrayProxy
from .scalars import Tracked


def hashable(function: Any) -> bool:
    """Whether a function may be looked up in a table."""
    try:
        hash(function)
    except TypeError:
        return False
    return True


def as_tensor(value: Any) -> Any:
    """Tracked numbers as tensors, also inside a list or tuple."""
    if isinstance(value, Tracked):
        return torch.tensor(value, dtype=torch.float64)
    if type(value) in {list, tuple}:
        return type(value)(as_tensor(v) for v in value)
    return value


def is_torch(function: Any) -> bool:
    """Whether a function is torch's, or a method of a tensor."""
    module = getattr(function, "__module__", None) or ""
    owner = getattr(function, "__self__", None)
    return (
        module.split(".")[0] == "torch" or isinstance(owner, Tensor | ArrayProxy) or _is_torch_builtin(function, owner)
    )


def is_python(function: Any) -> bool:
    """Whether torch runs it in Python, out of sight, and not as a call that the function mode sees first."""
    if isinstance(function, MethodType):
        return not isinstance(function.__self__, Tensor | ArrayProxy)
    if isinstance(function, type):
        return True
    module = getattr(function, "__module__", "") or ""
    return isinstance(function, FunctionType) and module not in {"torch._tensor", "torch.functional"}


def _is_torch_builtin(function: Any, owner: Any) -> bool:
    if not isinstance(function, BuiltinFunctionType):
        return False
    name = getattr(owner, "__name__", "") if isinstance(owner, ModuleType | type) else ""
    return name.split(".")[0] == "torch" or "_VariableFunctions" in str(getattr(function, "__qualname__", ""))
