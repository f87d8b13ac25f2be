"""Everything that a mechanism keeps: every tensor, number, text, class and piece of code that can be reached from it.

What is not found here would be state that no step is seen to change. So whatever holds something in a way that is not understood
is an error: an object of another library, a method of a container, code that closes over an object, a class made in a function
with a container of its own. Containers of the mechanism's own classes are walked with the methods of Python's containers.
"""

import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayProxy

Path = tuple[object, ...]
PLAIN = (
    int,
    float,
    str,
    bytes,
    bool,
    complex,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
    np.generic,
    type,
    range,
)


_OF_EVERY_CLASS = frozenset(
    {
        "__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__init__", "__slots__",
        "__firstlineno__", "__static_attributes__", "__classcell__", "__abstractmethods__", "_abc_impl", "__parameters__",
        "__orig_bases__", "__hash__", "__match_args__", "__dataclass_fields__", "__dataclass_params__", "__eq__", "__repr__",
        "__annotate_func__", "__annotations_cache__", "__replace__", "__post_init__",
    }
)  # fmt: skip
_TRANSPARENT = frozenset({object, torch.finfo, torch.iinfo, torch.memory_format, torch.layout})
"""Classes that keep nothing that changes."""
_IN_PYTHON = frozenset({"abc", "typing", "enum", "collections", "collections.abc"})
"""Modules whose classes keep what they keep in attributes."""
FIXED = (types.BuiltinFunctionType, types.ModuleType, types.CodeType, np.ufunc, types.MethodDescriptorType)
"""Of these the identity is all that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A value found in the state, with the place where it can be replaced."""

    path: Path
    value: Any
    replace: Callable[[Any], None]


def leaves(root: Any, filename: str) -> Iterator[Leaf]:
    """Every tensor, number and text that can be reached from a mechanism.

    Raises:
        TypeError: something holds state in a way that is not understood.
    """
    yield from _walk(root, (), lambda _: None, filename, set())


def _walk(value: Any, path: Path, replace: Callable[[Any], None], filename: str, seen: set[int]) -> Iterator[Leaf]:
    if isinstance(value, (ArrayProxy, *PLAIN)):
        yield Leaf(path=path, value=value, replace=replace)
        if isinstance(value, type):
            yield from _walk_class(value, path, filename, seen)
        elif type(value).__module__ == filename:
            yield from _walk_vars(value, path, filename, seen)
        return
    if isinstance(value, Tensor):
        yield Leaf(path=path, value=value, replace=replace)
        yield from _walk_attributes(value, path, filename, seen)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict | list | deque | tuple | set | frozenset | np.ndarray):
        _check_container(value, filename)
        yield from _walk_vars(value, path, filename, seen)
    if isinstance(value, dict):
        for key, part in list(dict.items(value)):
            yield from _walk(part, (*path, key), _setter(value, key), filename, seen)
    elif isinstance(value, list | deque):
        for key, part in enumerate(value):
            yield from _walk(part, (*path, key), _setter(value, key), filename, seen)
    elif isinstance(value, tuple):
        holder = list(value)
        for key, part in enumerate(value):
            yield from _walk(part, (*path, key), _tuple_setter(holder, key, type(value), replace), filename, seen)
    elif isinstance(value, set | frozenset):
        for key, part in enumerate(value):
            yield from _walk(part, (*path, key), _immutable, filename, seen)
    elif isinstance(value, np.ndarray):
        yield Leaf(path=path, value=value, replace=replace)
    elif isinstance(value, types.MethodType):
        yield from _walk(value.__self__, (*path, "self"), _immutable, filename, seen)
    elif isinstance(value, types.FunctionType):
        yield Leaf(path=(*path, "function"), value=value.__code__, replace=_immutable)
        for place, part in enumerate(held_by(value)):
            if not isinstance(part, (*PLAIN, types.FunctionType)):
                raise TypeError("a function kept by the mechanism closes over an object, or has one as a default")
            yield from _walk(part, (*path, "closure", place), _immutable, filename, seen)
    elif isinstance(value, FIXED):
        owner = getattr(value, "__self__", None)
        if not isinstance(owner, types.ModuleType | type | None):
            raise TypeError(f"the mechanism keeps a method of a {type(owner).__name__}")
        yield Leaf(path=(*path, "function"), value=value, replace=_immutable)
    elif hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
        yield from _walk_object(value, path, filename, seen)
    else:
        raise TypeError(f"the mechanism keeps a {type(value).__name__}")


def _walk_attributes(value: Tensor, path: Path, filename: str, seen: set[int]) -> Iterator[Leaf]:
    """What a candidate has set on a tensor, its gradient included."""
    kept = {**vars(value), **({"grad": value.grad} if value.is_leaf and value.grad is not None else {})}
    if kept and id(value) not in seen:
        seen.add(id(value))
        for name, part in kept.items():
            yield from _walk(part, (*path, name), _attribute_setter(value, name), filename, seen)


def has_attributes(value: Tensor) -> bool:
    """Whether something was set on a tensor, which would be lost with it."""
    return bool(vars(value)) or (value.is_leaf and value.grad is not None)


def held_by(function: types.FunctionType) -> list[Any]:
    """What a function closes over, and its defaults."""
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [*cells, *(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]


def _walk_class(kind: type, path: Path, filename: str, seen: set[int]) -> Iterator[Leaf]:
    """A class that was made in a function: no list of those at module level has it, and no copy copies what it holds."""
    if kind.__module__ != filename or "<locals>" not in kind.__qualname__ or id(kind) in seen:
        return
    seen.add(id(kind))
    for name, part in vars(kind).items():
        if name in _OF_EVERY_CLASS:
            continue
        for inner in unwrapped(part):
            if not isinstance(inner, (*PLAIN, types.FunctionType)):
                raise TypeError(f"the mechanism keeps a class made in a function that holds a {type(inner).__name__}")
            yield from _walk(inner, (*path, name), _immutable, filename, seen)


def unwrapped(value: Any) -> list[Any]:
    """The functions of a property or of a static or class method; else the value itself."""
    if isinstance(value, staticmethod | classmethod):
        return [value.__func__]
    if isinstance(value, property):
        return [f for f in (value.fget, value.fset, value.fdel) if f is not None]
    return [value]


def _check_container(value: Any, filename: str) -> None:
    """A container of the candidate's own class must hold what Python's methods say that it holds, also when it is copied."""
    for kind in type(value).__mro__:
        if kind.__module__ == filename and not isinstance(value, tuple):
            base = next(k for k in type(value).__mro__ if k.__module__ != filename)
            redefined = sorted(n for n in vars(kind) if hasattr(base, n) and n not in _OF_EVERY_CLASS)
            if redefined:
                raise TypeError(f"the mechanism keeps a {base.__name__} with {redefined[0]} of its own")


def _walk_object(value: Any, path: Path, filename: str, seen: set[int]) -> Iterator[Leaf]:
    if isinstance(value, torch.Generator):
        raise TypeError("the mechanism keeps a generator of its own")
    for kind in type(value).__mro__:
        known = kind.__module__ == filename or kind in _TRANSPARENT or kind.__module__ in _IN_PYTHON
        if not known and not issubclass(kind, torch.nn.Module | torch.distributions.Distribution):
            raise TypeError(f"the mechanism keeps a {kind.__module__}.{kind.__name__}")
    if type(value).__module__ in _IN_PYTHON:
        raise TypeError(f"the mechanism keeps a {type(value).__module__}.{type(value).__name__}")
    yield Leaf(path=(*path, "type"), value=type(value), replace=_immutable)
    yield from _walk_class(type(value), (*path, "type"), filename, seen)
    yield from _walk_vars(value, path, filename, seen)
    for kind in type(value).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(value, name):
                yield from _walk(getattr(value, name), (*path, name), _attribute_setter(value, name), filename, seen)


def _walk_vars(value: Any, path: Path, filename: str, seen: set[int]) -> Iterator[Leaf]:
    for name, part in list(getattr(value, "__dict__", {}).items()):
        yield from _walk(part, (*path, name), _attribute_setter(value, name), filename, seen)


def sharing(root: Any, filename: str) -> list[tuple[int, int]]:
    """Which of the arrays and tensors that are kept overlap in memory, by their numbers in the walk."""
    spans = []
    for leaf in leaves(root, filename):
        value = leaf.value.tensor if isinstance(leaf.value, ArrayProxy) else leaf.value
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            spans.append((storage.data_ptr(), storage.data_ptr() + storage.nbytes()))
        elif isinstance(value, np.ndarray):
            spans.append(np.lib.array_utils.byte_bounds(value))
    order = sorted(range(len(spans)), key=lambda k: spans[k])
    found = []
    for place, one in enumerate(order):
        for other in order[place + 1 :]:
            if spans[other][0] >= spans[one][1]:
                break
            found.append((min(one, other), max(one, other)))
    return sorted(found)


def _setter(container: Any, key: Any) -> Callable[[Any], None]:
    def replace(new: Any) -> None:
        container[key] = new

    return replace


def _tuple_setter(holder: list[Any], key: int, kind: type, outer: Callable[[Any], None]) -> Callable[[Any], None]:
    """A tuple is replaced as a whole."""

    def replace(new: Any) -> None:
        holder[key] = new
        outer(kind(*holder) if hasattr(kind, "_fields") else kind(holder))

    return replace


def _attribute_setter(owner: Any, name: str) -> Callable[[Any], None]:
    return lambda new: object.__setattr__(owner, name, new)


def _immutable(new: Any) -> None:
    raise TypeError("a value that changes from step to step is kept in a set")
