"""What a candidate could keep beside the mechanism: at module and class level, in closures, and in defaults of functions.

It is shared by all copies of a mechanism, so no copy shows it. It must therefore be the same after every execution of a step.
"""

import functools
import types
from collections import deque
from typing import Any

import numpy as np
import torch

from .leaves import held_by, leaves, unwrapped


def shared_state(namespace: dict[str, Any]) -> tuple[object, ...]:
    """Everything at module and class level that could keep something, by value."""
    filename = namespace["__name__"]
    seen: set[int] = set()
    return tuple(
        (name, _state(value, filename, seen))
        for name, value in sorted(namespace.items())
        if not name.startswith("__") and not isinstance(value, types.ModuleType)
    )


def _state(value: Any, filename: str, seen: set[int]) -> object:
    parts = _parts(value, filename)
    if parts is None:
        return _shown(value, filename)
    if id(value) in seen:
        return "above"
    seen.add(id(value))
    return type(value).__name__, tuple(_state(part, filename, seen) for part in parts)


def _parts(value: Any, filename: str) -> list[Any] | None:
    """What is in there, for what is looked into here; ``None`` for all else."""
    match value:
        case types.FunctionType():
            return held_by(value)
        case staticmethod() | classmethod() | property():
            return unwrapped(value)
        case types.MethodType():
            return [value.__self__, value.__func__]
        case functools.partial():
            return [value.func, *value.args, *value.keywords.values()]
        case types.BuiltinFunctionType() if isinstance(value.__self__, list | dict | set | deque | bytearray):
            return [value.__self__]
        case dict():
            return [*dict.keys(value), *dict.values(value), *vars_of(value)]
        case list() | tuple() | set() | frozenset() | deque():
            return [*value, *vars_of(value)]
        case type() if value.__module__ == filename:
            return [part for name, part in vars(value).items() if not (name.startswith("__") and name.endswith("__"))]
        case _ if type(value).__module__ == filename:
            return [repr(value) if isinstance(value, int | float | str) else None, *vars_of(value)]
        case _:
            return None


def vars_of(value: Any) -> list[Any]:
    """Values of the attributes of an object."""
    return list(getattr(value, "__dict__", {}).values())


def _shown(value: Any, filename: str) -> object:
    if isinstance(value, torch.Tensor):
        return value._version, repr(value.detach().reshape(-1).tolist())
    if isinstance(value, np.ndarray):
        return value.tobytes()
    try:
        found = list(leaves(value, filename))
    except TypeError:
        return repr(value)
    if len(found) == 1 and found[0].value is value:
        return repr(value)
    return tuple((leaf.path, repr(leaf.value)) for leaf in found)
