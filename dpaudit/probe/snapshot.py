"""The walk that saves a candidate's state: every mutable object that can be reached, with what it holds."""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor


class UncopyableState(Exception):
    """The candidate keeps something between calls that cannot be saved and put back."""


_ATOMS = (
    int, float, complex, str, bytes, bool, type(None), type(Ellipsis), range, slice, torch.dtype, torch.device,
    torch.Size, np.generic, np.dtype, BuiltinFunctionType, CodeType, ModuleType, PurePath, type(NotImplemented),
)  # fmt: skip


@dataclass(slots=True)
class Record:
    """One mutable object and what it held."""

    path: str
    target: Any
    kind: str
    saved: Any


@dataclass(slots=True)
class Snapshot:
    """What the world held. ``leaves`` are comparable values by path; ``records`` can be put back."""

    records: list[Record] = field(default_factory=list)
    leaves: dict[str, Any] = field(default_factory=dict)


class Walk:
    """One pass over the reachable objects."""

    def __init__(self, module: str | None) -> None:
        self.snapshot = Snapshot()
        self._module = module
        self._seen: set[int] = set()

    def leaf_if_atom(self, value: Any, path: str) -> None:
        if isinstance(value, int | float | complex | str | bytes | bool | np.generic) or value is None:
            self.snapshot.leaves[path] = value

    def visit(self, value: Any, path: str) -> None:
        """Save a value and what it reaches."""
        if isinstance(value, _ATOMS) or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self._add(path, value, "tensor", value.detach().clone(), leaf=True)
        elif isinstance(value, dict):
            self._container(path, value, "dict", dict(value), value.items(), "[{!r}]")
        elif isinstance(value, list | deque):
            self._container(path, value, "list", list(value), enumerate(value), "[{}]")
        elif isinstance(value, tuple | frozenset):
            for index, item in enumerate(value):
                self._item(item, f"{path}[{index}]")
        elif isinstance(value, set | bytearray):
            self._add(path, value, type(value).__name__, value.copy(), leaf=True)
        elif isinstance(value, np.ndarray):
            self._add(path, value, "array", value.copy(), leaf=True)
        elif isinstance(value, torch.Generator):
            self._add(path, value, "generator", value.get_state())
        elif isinstance(value, np.random.Generator):
            self.visit(value.bit_generator, path)
        elif isinstance(value, np.random.BitGenerator):
            self._add(path, value, "bit_generator", value.state)
        elif isinstance(value, np.random.RandomState):
            self._add(path, value, "legacy", value.get_state())
        elif isinstance(value, random.Random):
            self._add(path, value, "random", value.getstate())
        elif isinstance(value, type):
            self._class(path, value)
        elif isinstance(value, FunctionType):
            self._function(path, value)
        elif isinstance(value, MethodType | staticmethod | classmethod):
            self._method(path, value)
        elif isinstance(value, property | MappingProxyType):
            return
        else:
            self._object(path, value)

    def _add(self, path: str, target: Any, kind: str, saved: Any, *, leaf: bool = False) -> None:
        self.snapshot.records.append(Record(path, target, kind, saved))
        if leaf:
            self.snapshot.leaves[path] = saved

    def _item(self, item: Any, path: str) -> None:
        self.leaf_if_atom(item, path)
        self.visit(item, path)

    def _container(self, path: str, target: Any, kind: str, saved: Any, items: Any, key_format: str) -> None:
        self._add(path, target, kind, saved)
        if kind == "list" and all(type(item) in {int, float, str, bool} for item in saved):
            self.snapshot.leaves[path] = saved
            return
        self.snapshot.leaves[path + ".len"] = len(saved)
        for key, item in items:
            self._item(item, path + key_format.format(key))

    def _class(self, path: str, value: type) -> None:
        if value.__module__ != self._module:
            return
        saved = {name: item for name, item in vars(value).items() if not name.startswith("__")}
        self._add(path, value, "class", saved)
        for name, item in saved.items():
            self._item(item, f"{path}.{name}")
        for base in value.__mro__[1:]:
            self.visit(base, base.__name__)

    def _function(self, path: str, value: FunctionType) -> None:
        if value.__module__ != self._module:
            return
        for index, item in enumerate(value.__defaults__ or ()):
            self._item(item, f"{path}.default{index}")
        for name, item in (value.__kwdefaults__ or {}).items():
            self._item(item, f"{path}.{name}")
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                contents = cell.cell_contents
            except ValueError:  # not yet bound
                continue
            self._add(f"{path}.{name}", cell, "cell", contents)
            self._item(contents, f"{path}.{name}")
        if value.__dict__:
            self._container(path, value.__dict__, "dict", dict(value.__dict__), value.__dict__.items(), ".{}")

    def _method(self, path: str, value: Any) -> None:
        self.visit(value.__func__, path)
        if isinstance(value, MethodType):
            self.visit(value.__self__, path)

    def _object(self, path: str, value: Any) -> None:
        """An object: its ``__dict__`` and slots; nothing else may be hidden in it."""
        fields = getattr(value, "__dict__", None)
        slots = list(_slots(type(value)))
        if fields is None and not slots:
            if _stateless(value):
                return
            raise UncopyableState(f"{path} is a {type(value).__name__}, whose state cannot be saved and put back")
        if fields is not None:
            self._add(path, fields, "dict", dict(fields))
            for name, item in list(fields.items()):
                self._item(item, f"{path}.{name}")
        held = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        if held:
            self._add(path, value, "slots", held)
            for name, item in held.items():
                self._item(item, f"{path}.{name}")
        self.visit(type(value), type(value).__name__)


def _slots(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        yield from (
            name for name in ((names,) if isinstance(names, str) else names) if name not in {"__dict__", "__weakref__"}
        )


def _stateless(value: Any) -> bool:
    """C-level callables that hold nothing: numpy's ufuncs, torch's operators, method descriptors."""
    name = type(value).__name__
    return name in {
        "ufunc", "wrapper_descriptor", "method_descriptor", "builtin_function_or_method", "OpOverload", "getset_descriptor",
        "member_descriptor", "classmethod_descriptor", "method-wrapper", "object",
    } or type(value).__module__ == "typing"  # fmt: skip
