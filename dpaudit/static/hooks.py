"""What the instrumented candidate calls: observes numbers and decisions, and follows tracked numbers through builtins.

The trace has one entry for every number that is computed with. Entries are ``exact`` where the number meets a tensor,
a tracked number or foreign code, or where it is the outcome of a test; ``FREE`` elsewhere (a step counter, say).
"""

import builtins
import itertools
import math
import operator
import random
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import builtin_twins
from .arrays import ArrayProxy
from .operands import Operands
from .scalars import Tracked
from .session import Session
from .shape_numbers import full_value, is_shape_number, plain_value
from .shapes import ShapeBook, plain_shape

FREE, WILD, ROW = "free", "wild", "row"
_FORBIDDEN_CALLS = {
    "manual_seed", "seed", "set_rng_state", "set_state", "initial_seed", "fork_rng", "get_rng_state", "setstate",
    "_getframe", "settrace", "setprofile", "current_frames", "no_dispatch",
}  # fmt: skip
_NUMPY_NORMAL = frozenset({"normal", "randn", "standard_normal"})
_CONTAINER_TYPES = (list, dict, tuple, set, str)


class Hooks:
    """One object for the life of an instrumented module; sessions come and go."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.operands: Operands | None = None
        self.shapes: ShapeBook | None = None
        self.trace: list[tuple[int, object, object]] = []
        self.recording = False
        self.rows = 0
        self.slots: Mapping[int, int] = {}
        """Places in the trace whose number is analysed as a public variable, because it changes from step to step.

        Each with the first place that always has the same number: they share one variable.
        """

    @property
    def session(self) -> Session | None:
        return self.operands.session if self.operands is not None else None

    # ---- the trace --------------------------------------------------------------------------------------------

    def _note(self, site: int, value: Any, exact: bool, depth: int = 0) -> None:
        if isinstance(value, Tracked) or (isinstance(value, ArrayProxy) and value.ndim == 0):
            self.trace.append((site, WILD, WILD))
        elif is_shape_number(value):
            self.trace.append((site, plain_value(value) if exact else FREE, full_value(value)))
        elif isinstance(value, bool | int | float | str | np.generic):
            self.trace.append((site, value if exact else FREE, value))
        elif depth < 2 and isinstance(value, list | tuple) and len(value) <= 64:
            for part in value:
                self._note(site, part, exact, depth + 1)

    def _slot(self, value: Any) -> Any:
        """The number as a public variable, if the next place of the trace is a slot."""
        if self.slots and self.operands is not None and len(self.trace) in self.slots and type(value) in {int, float}:
            atom = self.operands.table.public(slot_name(self.slots[len(self.trace)]), (0.0, math.inf))
            return Tracked(float(value), atom, self.operands)
        return value

    def seen(self, site: int, value: Any) -> Any:
        if self.recording:
            value = self._slot(value)
            self._note(site, value, exact=True)
        return value

    def truth(self, site: int, value: Any) -> bool:
        outcome = bool(value)
        if self.recording:
            self.trace.append((site, outcome, outcome))
        return outcome

    def negation(self, site: int, value: Any) -> Any:
        if isinstance(value, Tracked) and self.operands is not None:
            return operator.eq(value, 0)
        return not self.truth(site, value)

    # ---- operators --------------------------------------------------------------------------------------------

    def binary(self, site: int, name: str, left: Any, right: Any) -> Any:
        if self.recording:
            exact = isinstance(left, Tensor | Tracked | ArrayProxy) or isinstance(right, Tensor | Tracked | ArrayProxy)
            left = self._slot(left)
            self._note(site, left, exact)
            right = self._slot(right)
            self._note(site, right, exact)
        return getattr(operator, name)(left, right)

    def compare(self, site: int, names: tuple[str, ...], *values: Any) -> Any:
        result: Any = True
        for name, left, right in zip(names, values, values[1:], strict=False):
            result = self._compare(site, name, left, right)
            if name != names[-1] and len(names) > 1 and not result:
                return result
        return result

    def _compare(self, site: int, name: str, left: Any, right: Any) -> Any:
        if name in {"in", "not_in"}:
            if self.session is not None and (isinstance(left, Tracked) or _holds_tracked(right)):
                self._escape("a membership test")
            found = left in right
            return found if name == "in" else not found
        if self.recording and name not in {"is_", "is_not"}:
            exact = isinstance(left, Tensor | Tracked) or isinstance(right, Tensor | Tracked)
            self._note(site, left, exact)
            self._note(site, right, exact)
        return getattr(operator, name)(left, right)

    def subscript(self, site: int, container: Any, index: Any) -> Any:
        if self.session is not None and _holds_tracked(index):
            self._escape("an index")
        if is_shape_number(index):
            index = plain_value(index)
        found = container[index]
        if self.recording and self._is_row_index(container, index):
            # Which row it is must be the same from step to step, but may differ with the number of rows.
            self.trace.append((site, str(index), ROW))
        elif self.recording:
            self._note(site, index, exact=isinstance(found, Tensor))
        return found

    def _is_row_index(self, container: Any, index: Any) -> bool:
        """An index of one row out of all rows: the only number that may differ with the number of rows."""
        rows = self.shapes.shrinking.rows if self.shapes is not None else self.rows
        first = index[0] if isinstance(index, tuple) and index else index
        if isinstance(container, Tensor):
            shape = plain_shape(container)
            return type(first) is int and bool(shape) and shape[0] == rows
        return isinstance(container, list | tuple) and type(index) is int and len(container) == rows

    # ---- calls ------------------------------------------------------------------------------------------------

    def call(self, site: int, function: Any, *args: Any, **kwargs: Any) -> Any:
        if self.recording:
            args, kwargs = self._record_call(site, function, args, kwargs)
        observed = self.session is not None
        result = self._observed_call(function, args, kwargs) if observed else function(*args, **kwargs)
        if self.recording and function is len:
            self._note(site, result, exact=False)
        return result

    def _record_call(
        self, site: int, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        exact = not (self._is_own(function) or _is_arithmetic(function)) or any(
            isinstance(a, Tensor | Tracked | ArrayProxy) for a in args
        )
        exact = exact and not self._is_own(function) and not _is_container_method(function)
        taken = []
        for value in (*args, *kwargs.values()):
            value = self._slot(value)
            self._note(site, value, exact)
            taken.append(value)
        return tuple(taken[: len(args)]), dict(zip(kwargs, taken[len(args) :], strict=True))

    def _is_own(self, function: Any) -> bool:
        """Whether ``function`` is the candidate's own code, which is observed itself."""
        if isinstance(function, MethodType):
            function = function.__func__
        if isinstance(function, FunctionType):
            return function.__code__.co_filename == self.filename
        if isinstance(function, type):
            return function.__module__ == self.filename
        return getattr(type(function), "__module__", None) == self.filename

    def _observed_call(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        session = self.session
        assert session is not None
        assert self.operands is not None
        session.mark_line()
        name = getattr(function, "__name__", "")
        self._check_allowed(function, name)
        if self._is_own(function):
            return function(*args, **kwargs)
        if function is map:
            mapped, *lists = args
            return [self._observed_call(mapped, row, {}) for row in zip(*lists, strict=False)]
        if function is zip:
            return self._zip(args, kwargs)
        if name in _NUMPY_NORMAL and _is_numpy_random(function):
            return self._numpy_normal(name, args, kwargs)
        twin = builtin_twins.find(function)
        if twin is not None:
            return twin(self.operands, self.shapes, *args, **kwargs)
        if name in {"array", "asarray", "from_numpy"} and args and isinstance(args[0], ArrayProxy | Tensor):
            return self._converted(name, args)
        if not _is_torch(function) and not _is_container_method(function) and not _is_method_of_ours(function):
            if any(_holds_tracked(a) for a in (*args, *kwargs.values())):
                return self._foreign(function, name, args, kwargs)
            args = tuple(_numeric(a) for a in args) if function is not range else tuple(map(plain_value, args))
        return function(*args, **kwargs)

    def _check_allowed(self, function: Any, name: str) -> None:
        session = self.session
        assert session is not None
        module = (
            getattr(function, "__module__", None)
            or getattr(getattr(function, "__self__", None), "__module__", "")
            or ""
        )
        owner = getattr(function, "__self__", None)
        if name in _FORBIDDEN_CALLS:
            session.refuse("DPA112", f"{name} sets or reads the state of a generator or of the interpreter")
        owns = isinstance(owner, random.Random | np.random.Generator | np.random.RandomState | torch.Generator)
        watched = name in _NUMPY_NORMAL and isinstance(owner, np.random.RandomState)
        if function is torch.Generator or (owns and not watched):
            session.refuse(
                "DPA112", "a generator of the mechanism's own, or Python randomness: its state is not watched"
            )
        if function is random.Random or (isinstance(module, str) and module.split(".")[0] in {"random", "secrets"}):
            session.refuse("DPA112", "randomness outside the watched generators")
        if name in {"default_rng", "RandomState"}:
            session.refuse("DPA112", "a generator of the mechanism's own, whose state is its to choose")
        if (
            function in {builtins.eval, builtins.exec, builtins.compile, builtins.open, builtins.__import__}
            if _hashable(function)
            else False
        ):
            session.refuse("DPA116", f"{name} is outside the verified subset of Python")

    def _zip(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        lengths = {len(a) for a in args if hasattr(a, "__len__")}
        session = self.session
        assert session is not None
        if not all(
            hasattr(a, "__len__") or isinstance(a, zip | enumerate | reversed | map | itertools.count) for a in args
        ):
            session.refuse("DPA111", "zip with an iterator whose length is not known")
        if len(lengths) > 1 and kwargs.get("strict") is not True:
            session.refuse("DPA111", f"zip of lists of different lengths {sorted(lengths)}, which depend on the shape")
        return zip(*args, **kwargs)  # noqa: B905 - as the candidate wrote it

    def _numpy_normal(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        names = ("size",) if name == "standard_normal" else ("loc", "scale", "size")
        given = {"size": args} if name == "randn" else dict(zip(names, args, strict=False)) | kwargs
        size = given.get("size")
        shape = () if size is None else tuple(size) if isinstance(size, list | tuple) else (size,)
        draw: Any = torch.randn([plain_value(n) for n in shape], dtype=torch.float64)
        return ArrayProxy(draw * given.get("scale", 1.0) + given.get("loc", 0.0))

    def _converted(self, name: str, args: tuple[Any, ...]) -> Any:
        value = args[0]
        if name == "from_numpy":
            return value.tensor if isinstance(value, ArrayProxy) else torch.from_numpy(value)
        if isinstance(value, ArrayProxy):
            return value.copy() if name == "array" else value
        return value.numpy()

    def _foreign(self, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, np.ufunc) or getattr(function, "__module__", "") in {"numpy", "numpy.linalg"}:
            assert self.operands is not None
            converted = [_as_proxy(a) for a in args]
            if name in {"array", "asarray"}:
                return converted[0]
            return function(*converted, **kwargs)
        if function is isinstance or function is type or function is callable or function is hasattr or function is id:
            return function(*args, **kwargs)
        self._escape(f"the call of {name or function!r}")
        return None

    def _escape(self, where: str) -> None:
        session = self.session
        assert session is not None
        session.mark_line()
        session.refuse("DPA110", f"a private or released number goes into {where}, where it cannot be followed")


def slot_name(place: int) -> tuple[str, int]:
    """Name of the public variable at a place of the trace."""
    return "slot", place


def _hashable(function: Any) -> bool:
    try:
        hash(function)
    except TypeError:
        return False
    return True


def _holds_tracked(value: Any, depth: int = 0) -> bool:
    if isinstance(value, Tracked):
        return True
    if depth < 4 and isinstance(value, list | tuple | set):
        return any(_holds_tracked(v, depth + 1) for v in value)
    if depth < 4 and isinstance(value, dict):
        return any(_holds_tracked(v, depth + 1) for v in value.values())
    if isinstance(value, slice):
        return any(_holds_tracked(v) for v in (value.start, value.stop, value.step))
    return False


def _numeric(value: Any) -> Any:
    """Numbers from shapes that go to foreign code lose their tracking, so the two shrinkings will tell."""
    return plain_value(value)


def _as_proxy(value: Any) -> Any:
    if _holds_tracked(value):
        return ArrayProxy(torch.tensor(value))
    return value


def _is_torch(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    owner = getattr(function, "__self__", None)
    return (
        module.split(".")[0] == "torch" or isinstance(owner, Tensor | ArrayProxy) or _is_torch_builtin(function, owner)
    )


def _is_torch_builtin(function: Any, owner: Any) -> bool:
    if not isinstance(function, BuiltinFunctionType):
        return False
    name = getattr(owner, "__name__", "") if isinstance(owner, ModuleType | type) else ""
    return name.split(".")[0] == "torch" or "_VariableFunctions" in str(getattr(function, "__qualname__", ""))


def _is_container_method(function: Any) -> bool:
    return isinstance(getattr(function, "__self__", None), _CONTAINER_TYPES)


def _is_method_of_ours(function: Any) -> bool:
    return isinstance(getattr(function, "__self__", None), Tracked)


def _is_numpy_random(function: Any) -> bool:
    owner = getattr(function, "__self__", None)
    return isinstance(owner, np.random.RandomState)


def _is_arithmetic(function: Callable[..., Any]) -> bool:
    return getattr(function, "__module__", None) in {"math", "builtins"} or isinstance(function, type)
