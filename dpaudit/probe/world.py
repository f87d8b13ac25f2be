"""Everything that a mechanism can remember, saved and put back in place.

A snapshot walks from the instance, the candidate's module and its classes through every mutable object that it can
reach (containers, tensors, arrays, generators, objects of its own classes, closures, default arguments) and saves the
contents. Restoring writes the contents back into the SAME objects, so that aliases, bound methods and closures stay as
they were. An object that is neither known nor plain (a running Python generator, an iterator, a lock) cannot be put
back: :class:`UncopyableState` says which, and the probe reads nothing after it.
"""

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

from .python_draws import ENTROPY, LEGACY


class UncopyableState(Exception):
    """The candidate keeps something between calls that cannot be saved and put back."""


_ATOMS = (
    int, float, complex, str, bytes, bool, type(None), type(Ellipsis), range, slice, torch.dtype, torch.device,
    torch.Size, np.generic, np.dtype, BuiltinFunctionType, CodeType, ModuleType, PurePath, type(NotImplemented),
)  # fmt: skip


@dataclass(slots=True)
class _Record:
    """One mutable object and what it held."""

    path: str
    target: Any
    kind: str
    saved: Any


@dataclass(slots=True)
class Snapshot:
    """What the world held. ``leaves`` are comparable values by path; ``records`` can be put back."""

    records: list[_Record] = field(default_factory=list)
    leaves: dict[str, Any] = field(default_factory=dict)


class World:
    """The reachable state of one candidate.

    Args:
        instance: the mechanism.
        namespace: globals of the module that it was loaded into.
        provided: names in ``namespace`` that the loader put there.
        draws_outside_torch: also save the states of numpy's, ``random``'s and the operating system's generators.
    """

    def __init__(
        self, instance: Any, namespace: dict[str, Any], provided: frozenset[str], draws_outside_torch: bool
    ) -> None:
        self.instance = instance
        self.namespace = namespace
        self.provided = provided
        self.draws_outside_torch = draws_outside_torch
        self._module = namespace.get("__name__")

    def snapshot(self) -> Snapshot:
        """Save everything.

        Raises:
            UncopyableState: something cannot be saved.
        """
        walk = _Walk(self._module)
        walk.visit(self.instance, "self")
        for name, value in self.namespace.items():
            if name not in self.provided and not name.startswith("__"):
                walk.visit(value, name)
                walk.leaf_if_atom(value, name)
        snapshot = walk.snapshot
        # Rebinding a module's global is a change of state too.
        names = {key: value for key, value in self.namespace.items() if key != "__builtins__"}
        snapshot.records.append(_Record("module", self.namespace, "namespace", names))
        snapshot.records.append(_Record("torch", None, "torch", torch.get_rng_state()))
        if self.draws_outside_torch:
            state = (LEGACY.get_state(), random.getstate(), ENTROPY.source.getstate())
            snapshot.records.append(_Record("python", None, "python", state))
        return snapshot

    def restore(self, snapshot: Snapshot, *, only: str = "") -> None:
        """Put everything back, or only what lies under the path ``only``."""
        for record in snapshot.records:
            if not only or record.path == only or record.path.startswith((only + ".", only + "[")):
                _put_back(record)

    def transplant(self, snapshot: Snapshot, root: str) -> None:
        """Take over one attribute (``self.x``, ``Class.x``) or global (``X``) as it was in another snapshot."""
        owner, _, name = root.rpartition(".")
        for record in snapshot.records:
            if record.kind == "namespace" and not owner and name in record.saved:
                self.namespace[name] = record.saved[name]
            elif record.kind == "dict" and record.path == owner == "self" and name in record.saved:
                self.instance.__dict__[name] = record.saved[name]
            elif record.kind == "class" and record.path == owner and name in record.saved:
                setattr(record.target, name, record.saved[name])
        self.restore(snapshot, only=root)

    def stir(self, snapshot: Snapshot, seed: int) -> None:
        """Move every generator that a snapshot knows to another state."""
        torch.default_generator.manual_seed(seed)
        for record in snapshot.records:
            if record.kind == "generator":
                record.target.manual_seed(seed + 1)
            elif record.kind == "bit_generator":
                record.target.state = type(record.target)(seed + 2).state
            elif record.kind in {"legacy", "random"}:
                record.target.seed(seed + 3)
        if self.draws_outside_torch:
            LEGACY.seed(seed + 4)
            random.seed(seed + 5)
            ENTROPY.source.seed(seed + 6)


def root_of(snapshot: Snapshot, path: str) -> str:
    """The attribute or global that a leaf's path lies under."""
    parts = path.replace("[", ".").split(".")
    attribute = parts[0] == "self" or any(
        record.kind == "class" and record.path == parts[0] for record in snapshot.records
    )
    return ".".join(parts[:2]) if attribute and len(parts) > 1 else parts[0]


class _Walk:
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
        self.snapshot.records.append(_Record(path, target, kind, saved))
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


def _put_back(record: _Record) -> None:
    target, saved = record.target, record.saved
    match record.kind:
        case "tensor":
            with torch.no_grad():
                if target.shape != saved.shape:
                    target.data = saved.clone()
                else:
                    target.data.copy_(saved)
        case "dict":
            target.clear()
            target.update(saved)
        case "namespace":
            for name in [name for name in target if name not in saved and name != "__builtins__"]:
                del target[name]
            target.update(saved)
        case "list":
            target.clear()
            target.extend(saved)
        case "set":
            target.clear()
            target.update(saved)
        case "bytearray":
            target[:] = saved
        case "array":
            target[...] = saved
        case "class":
            for name in [name for name in vars(target) if not name.startswith("__") and name not in saved]:
                delattr(target, name)
            for name, item in saved.items():
                if vars(target).get(name) is not item:
                    setattr(target, name, item)
        case "cell":
            target.cell_contents = saved
        case "slots":
            for name, item in saved.items():
                setattr(target, name, item)
        case "generator" | "legacy":
            target.set_state(saved)
        case "bit_generator":
            target.state = saved
        case "random":
            target.setstate(saved)
        case "torch":
            torch.set_rng_state(saved)
        case "python":
            LEGACY.set_state(saved[0])
            random.setstate(saved[1])
            ENTROPY.source.setstate(saved[2])
        case _:
            raise AssertionError(f"unknown record kind {record.kind}")
