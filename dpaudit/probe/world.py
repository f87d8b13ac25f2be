"""Everything that a mechanism can remember, saved and put back in place.

A snapshot walks from the instance, the candidate's module and its classes through every mutable object that it can
reach (containers, tensors, arrays, generators, objects of its own classes, closures, default arguments) and saves the
contents. Restoring writes the contents back into the SAME objects, so that aliases, bound methods and closures stay as
they were. An object that is neither known nor plain (a running Python generator, an iterator, a lock) cannot be put
back: :class:`UncopyableState` says which, and the probe reads nothing after it.
"""

import random
from typing import Any

import torch

from .python_draws import ENTROPY, LEGACY
from .snapshot import Record, Snapshot, UncopyableState, Walk

__all__ = ["Snapshot", "UncopyableState", "World", "root_of"]


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
        walk = Walk(self._module)
        walk.visit(self.instance, "self")
        for name, value in self.namespace.items():
            if name not in self.provided and not name.startswith("__"):
                walk.visit(value, name)
                walk.leaf_if_atom(value, name)
        snapshot = walk.snapshot
        # Rebinding a module's global is a change of state too.
        names = {key: value for key, value in self.namespace.items() if key != "__builtins__"}
        snapshot.records.append(Record("module", self.namespace, "namespace", names))
        snapshot.records.append(Record("torch", None, "torch", torch.get_rng_state()))
        if self.draws_outside_torch:
            state = (LEGACY.get_state(), random.getstate(), ENTROPY.source.getstate())
            snapshot.records.append(Record("python", None, "python", state))
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


def _put_back(record: Record) -> None:
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
