"""Calls that a candidate makes, while it is analysed: what may run, and how numbers pass through it."""

import builtins
import functools
import itertools
import logging
import random
import warnings
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from . import builtin_twins
from .arrays import ArrayProxy
from .callables import as_tensor, hashable, is_python, is_torch
from .scalars import Tracked
from .shape_numbers import is_shape_number, lost_value, plain_value, size_value
from .stand_ins import asked, check
from .step_numbers import LIFTED, StepFloat, StepInt, is_plain, is_step_number, lift, plain_number

if TYPE_CHECKING:
    from .hooks import Hooks

_FORBIDDEN_CALLS = frozenset(
    {
        "manual_seed", "manual_seed_all", "seed", "set_rng_state", "set_state", "initial_seed", "fork_rng", "get_rng_state",
        "setstate", "getstate", "get_state", "_getframe", "settrace", "setprofile", "current_frames", "no_dispatch",
        "set_default_dtype", "set_default_tensor_type", "set_default_device", "set_float32_matmul_precision",
        "graphsafe_set_state", "set_offset", "clone_state", "set_printoptions",
        "set_num_threads", "set_flush_denormal", "use_deterministic_algorithms",
        "seed_all", "set_rng_state_all",
    }
)  # fmt: skip
_OUTSIDE = frozenset(
    {builtins.eval, builtins.exec, builtins.compile, builtins.open, builtins.__import__, builtins.id, builtins.hash}
)
_NUMPY_NORMAL = frozenset({"normal", "randn", "standard_normal"})
_CONTAINER_TYPES = (list, dict, tuple, set, str, bytes, frozenset)
_PASSING = frozenset({list, tuple, dict, enumerate, reversed, set, frozenset})
"""They only hold or order what they are given."""
_SINKS = frozenset({builtins.print, warnings.warn})
_PRINTED = frozenset({"sep", "end", "flush", "stacklevel"})
_TEXTS = frozenset({builtins.str, builtins.repr, builtins.format, builtins.ascii})
_WRITTEN = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    np.generic,
    torch.dtype,
    torch.Size,
    range,
    type,
    BaseException,
)
"""What is written alike in every process."""
_LOGGED = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log"})
_SCIPY_RANDOM = frozenset(
    {
        "rvs", "sample", "resample", "bootstrap", "permutation_test", "monte_carlo_test", "power", "goodness_of_fit", "random",
        "rand", "random_array", "clarkson_woodruff_transform", "differential_evolution", "basinhopping", "dual_annealing",
        "random_correlation", "sobol_indices", "multiscale_graphcorr", "dunnett", "svds", "eigsh", "eigs", "lobpcg",
    }
)  # fmt: skip
_QUESTIONS = frozenset({callable, issubclass})
_SCALARS = frozenset({np.float64, np.float32})
_TRUTHS_OF_ORDER = frozenset({"sorted", "min", "max", "sort"})


class Calls:
    """Checks and follows the calls of one candidate."""

    def __init__(self, hooks: "Hooks") -> None:
        self.hooks = hooks

    # ---- what is refused --------------------------------------------------------------------------------------

    def escape(self, where: str) -> None:
        """Refuse: a number that cannot be followed from here on."""
        _, session = self.hooks.watching()
        session.mark_line()
        session.refuse("DPA110", f"a private or released number goes into {where}, where it cannot be followed")

    def note_public(self, what: str, value: float) -> None:
        """Note a value that must not depend on the small shape that runs."""
        self.hooks.watching()[1].note_public(what, value)

    def lost_shape(self, value: Any) -> None:
        """A number from a shape goes on as a plain one: refused unless that is its value at the real shape."""
        lost_value(value)

    def picked(self, container: Any, index: Any) -> Tensor | None:
        """One of several public values at a place that a formula of shapes names: some public number, whichever it is.

        Neither the one nor the others may change afterwards, since which of them is the one is not known. ``None`` where the
        values are not all public, or known numbers.
        """
        operands, session = self.hooks.watching()
        shadows, table = operands.shadows, operands.table
        if not isinstance(container, Tensor) or container.dim() != 1 or index.batch or shadows.is_constant(container):
            return None
        if any(table.touch[x] or table.has_noise(x) for x in shadows.of(container).tolist()):
            return None
        session.mark_line()
        session.inside = True
        try:
            found = container[plain_value(index)].clone()
        finally:
            session.inside = False
        shadows.write(found, np.array(session.fresh_coin(), dtype=np.int64))
        shadows.export(found)
        shadows.export(container)
        return found

    def holds_tracked(self, value: Any, depth: int = 0) -> bool:
        """Whether a tracked number is in there."""
        if isinstance(value, Tracked):
            return True
        if depth < 4 and isinstance(value, list | tuple | set | frozenset):
            return any(self.holds_tracked(v, depth + 1) for v in value)
        if depth < 4 and isinstance(value, dict):
            return any(self.holds_tracked(v, depth + 1) for v in value.values())
        if isinstance(value, slice):
            return any(self.holds_tracked(v) for v in (value.start, value.stop, value.step))
        return False

    def pin_inside(self, value: Any, depth: int = 0) -> None:
        """Pin every number from steps in there: code that carries no formulas is about to read it."""
        if isinstance(value, StepInt | StepFloat):
            value.book.pin(value)
        elif depth < 6 and isinstance(value, list | tuple | set | frozenset):
            for part in value:
                self.pin_inside(part, depth + 1)
        elif depth < 6 and isinstance(value, dict):
            for key, part in value.items():
                self.pin_inside(key, depth + 1)
                self.pin_inside(part, depth + 1)
        elif isinstance(value, slice):
            self.pin_inside((value.start, value.stop, value.step))

    def check_attribute(self, value: Any, attribute: str) -> None:
        """An attribute is read that may tell of the analysis: see :mod:`.stand_ins`."""
        check(self, value, attribute)

    def is_own(self, function: Any) -> bool:
        """Whether ``function`` is the candidate's own code, which is observed itself."""
        filename = self.hooks.filename
        if isinstance(function, MethodType):
            function = function.__func__
        if isinstance(function, FunctionType):
            return function.__code__.co_filename == filename
        if isinstance(function, type):
            return function.__module__ == filename
        return getattr(type(function), "__module__", None) == filename

    def check_allowed(self, function: Any) -> None:
        """Refuse what sets generators, reads the interpreter, or draws where nobody watches."""
        _, session = self.hooks.watching()
        if isinstance(function, functools.partial):
            for inner in (function.func, *function.args, *function.keywords.values()):
                if callable(inner) and not isinstance(inner, Tensor):
                    self.check_allowed(inner)
            return
        name = getattr(function, "__name__", "")
        owner = getattr(function, "__self__", None)
        module = getattr(function, "__module__", None) or getattr(owner, "__module__", "") or ""
        if name in _FORBIDDEN_CALLS and not self.is_own(function):
            session.refuse("DPA112", f"{name} sets or reads the state of a generator or of the interpreter")
        owns = isinstance(owner, random.Random | np.random.Generator | np.random.RandomState | torch.Generator)
        watched = name in _NUMPY_NORMAL and isinstance(owner, np.random.RandomState)
        if function is torch.Generator or (owns and not watched):
            session.refuse(
                "DPA112", "a generator of the mechanism's own, or Python randomness: its state is not watched"
            )
        if isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
            session.refuse(
                "DPA116", f"{function}: the operators below torch's own functions are outside the verified subset"
            )
        if function is random.Random or (isinstance(module, str) and module.split(".")[0] in {"random", "secrets"}):
            session.refuse("DPA112", "randomness outside the watched generators")
        if isinstance(module, str) and module.split(".")[0] == "scipy" and name in _SCIPY_RANDOM:
            session.refuse("DPA112", f"scipy's {name} draws randomness that is not watched")
        if isinstance(owner, logging.Logger) and name not in _LOGGED:
            session.refuse("DPA116", f"{name} of a logger changes, or tells, how the caller logs")
        if function is np.ndarray:
            session.refuse("DPA110", "an array of memory that nobody has written to")
        if name in {"default_rng", "RandomState"}:
            session.refuse("DPA112", "a generator of the mechanism's own, whose state is its to choose")
        if hashable(function) and function in _OUTSIDE:
            session.refuse("DPA116", f"{name} is outside the verified subset of Python")

    # ---- what is done -----------------------------------------------------------------------------------------

    def observed(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call, with every tracked number followed, or a refusal."""
        operands, session = self.hooks.watching()
        session.mark_line()
        for candidate in (function, *args, *kwargs.values()):
            if callable(candidate) and not isinstance(candidate, Tensor):
                self.check_allowed(candidate)
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", "")
        if isinstance(owner, Tracked) and not isinstance(function, MethodType):
            self.escape(f"the method {name} of a float")
        if self.is_own(function):
            return function(*args, **kwargs)
        if (hashable(function) and function in _TEXTS) or isinstance(owner, str):
            for value in (*args, *kwargs.values()):
                self.check_text(value)
        if (
            hashable(function)
            and function in _SINKS
            and (set(kwargs) - _PRINTED or any(map(self._is_foreign_sink, args)))
        ):
            session.refuse("DPA116", f"{name} hands a text to code of the mechanism's own, where it cannot be followed")
        structural = self._structural(function, args, kwargs)
        if structural is not None:
            return structural[0]
        args, kwargs, lifted = self._settle_steps(function, args, kwargs)
        if lifted is not None:
            return lifted[0]
        if name in _TRUTHS_OF_ORDER:
            self._check_order(name, owner, args, kwargs)
        if name in _NUMPY_NORMAL and isinstance(owner, np.random.RandomState):
            return self._numpy_normal(name, args, kwargs)
        twin = builtin_twins.find(function)
        if twin is not None:
            return twin(operands, self.hooks.shapes, *args, **kwargs)
        if (
            name in {"array", "asarray", "from_numpy"}
            and (not is_torch(function) or name == "from_numpy")
            and args
            and isinstance(args[0], ArrayProxy | Tensor)
        ):
            return self._converted(name, args, kwargs)
        result = self._plain_call(function, name, args, kwargs)
        if isinstance(result, set | frozenset) and function not in {set, frozenset}:
            session.refuse("DPA116", "a set's order differs from process to process; use a list or a tuple")
        return result

    def _is_foreign_sink(self, value: Any) -> bool:
        """Whether a value is code or an object of the candidate's own, which would be handed what is printed."""
        return (value.__module__ if isinstance(value, type) else type(value).__module__) == self.hooks.filename

    def _structural(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any] | None:
        """Functions that call others or only hold what they get."""
        if isinstance(function, functools.partial):
            return (self.observed(function.func, (*function.args, *args), {**function.keywords, **kwargs}),)
        if function is functools.partial:
            for value in (*args[1:], *kwargs.values()):
                self.lost_shape(value)
            made: Any = function
            return (made(*args, **kwargs),)
        if function is map:
            # Real iterators: they run late, once, and not at all where nobody asks.
            mapped, *columns = args
            return (map(lambda *row: self.observed(mapped, row, {}), *columns),)
        if function is filter:
            test, values = args
            return (filter(None if test is None else lambda x: bool(self.observed(test, (x,), {})), values),)
        if function is functools.reduce:
            folded, values, *start = args
            result = functools.reduce(lambda a, b: self.observed(folded, (a, b), {}), values, *start)
            return (result,)
        if function is zip:
            return (self._zip(args, kwargs),)
        if function in _QUESTIONS if hashable(function) else False:
            return (function(*args, **kwargs),)
        if isinstance(function, type) and issubclass(function, type) and len(args) > 1:
            self.hooks.watching()[1].refuse("DPA116", "a class that is made by a call can hide what runs")
        if function in {isinstance, hasattr, getattr} or (function is type and len(args) == 1):
            return (asked(self, function, args),)
        if hashable(function) and function in _PASSING and not kwargs and len(args) <= 1:
            return (function(*args),)
        if hashable(function) and function in _SCALARS and args and isinstance(args[0], Tracked):
            return (args[0],)
        return None

    def _settle_steps(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], tuple[Any] | None]:
        """Numbers from steps: kept in a formula where the function allows it, used by tensors, or pinned."""
        listed = args[0] if len(args) == 1 and isinstance(args[0], list | tuple) else None
        values = tuple(listed) if listed is not None else args
        liftable = hashable(function) and function in LIFTED and not kwargs
        if liftable and any(map(is_step_number, values)) and all(map(is_plain, values)):
            return args, kwargs, (lift(LIFTED[function], *values),)
        owner = getattr(function, "__self__", None)
        name = getattr(function, "__name__", "")
        if isinstance(owner, list | dict | set) and name in _HOLDING:
            return args, kwargs, None
        if (hashable(function) and function in _SINKS) or getattr(function, "__module__", "") == "logging":
            self._check_logged(args)
            return tuple(map(plain_number, args)), kwargs, None
        if isinstance(owner, logging.Logger):
            self._check_logged(args)
            return tuple(map(plain_number, args)), kwargs, None
        if isinstance(owner, list | dict | set) and name in _TRUTHS_OF_ORDER | {"index", "count", "remove"}:
            self.pin_inside(owner)
        tensors = is_torch(function) and not isinstance(function, type)
        return tuple(self._step(a, tensors) for a in args), {k: self._step(v, tensors) for k, v in kwargs.items()}, None

    def _check_logged(self, values: tuple[Any, ...]) -> None:
        """Whether a message is written at all depends on the caller, so what it says is looked at here."""
        operands, session = self.hooks.watching()
        for value in values:
            tensor = value.tensor if isinstance(value, ArrayProxy) else value
            if isinstance(value, Tracked) or (isinstance(tensor, Tensor) and not operands.shadows.is_constant(tensor)):
                session.refuse("DPA110", "a private or released value is logged or printed")

    def _step(self, value: Any, tensors: bool) -> Any:
        if isinstance(value, StepInt):
            # An int may be an axis or a size: no unknown can stand for it.
            return value.book.pin(value)
        if isinstance(value, StepFloat):
            return value.book.use(value) if tensors else value.book.pin(value)
        self.pin_inside(value)
        return value

    def _check_order(self, name: str, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An order by a key of what is tracked would not be seen."""
        if kwargs.get("key") is None:
            return
        values = list(owner) if name == "sort" else list(args[0]) if len(args) == 1 else list(args)
        if self.holds_tracked(values):
            self.escape(f"{name} with a key")

    def _plain_call(self, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_torch(function):
            self._check_devices(function, name, (getattr(function, "__self__", None), *args, *kwargs.values()))
        if is_torch(function):
            if is_python(function) and any(self.holds_tracked(a) for a in (*args, *kwargs.values())):
                # Python code of torch would read a tracked number as a plain float: it gets a tensor.
                args = tuple(as_tensor(a) for a in args)
                kwargs = {k: as_tensor(v) for k, v in kwargs.items()}
            return function(*args, **kwargs)
        if isinstance(getattr(function, "__self__", None), _CONTAINER_TYPES):
            if name in {"get", "count", "index", "setdefault", "remove"}:
                self.note_public("the length of what is looked in", float(len(function.__self__)))
            if not (isinstance(getattr(function, "__self__", None), list) and name in {"append", "extend"}):
                for value in (*args, *kwargs.values()):
                    self.lose_inside(value)
            return function(*args, **kwargs)
        if isinstance(getattr(function, "__self__", None), Tracked):
            return function(*args, **kwargs)
        if any(self.holds_tracked(a) for a in (*args, *kwargs.values())):
            return self._foreign(function, name, args, kwargs)
        for value in (*args, *kwargs.values()):
            self.lose_inside(value)
        if getattr(function, "__module__", "") == "itertools" and function is not itertools.chain:
            self._note_lengths(args)
        return function(*map(plain_value, args), **kwargs)

    def _check_devices(self, function: Any, name: str, values: tuple[Any, ...]) -> None:
        """A device may be kept and passed on; a text or a comparison made of it would tell of the machine."""
        holds = name in {"append", "extend", "values", "items"} and isinstance(
            getattr(function, "__self__", None), list | dict
        )
        written = function in _SINKS if hashable(function) else False
        if not (holds or written or getattr(function, "__module__", "") == "logging"):
            for value in values:
                self.check_device(value)

    def check_device(self, value: Any, depth: int = 0) -> None:
        """Refuse what would tell of the device on which the mechanism runs, also from inside containers and own objects."""
        if isinstance(value, torch.device):
            _, session = self.hooks.watching()
            session.mark_line()
            session.refuse(
                "DPA116", "what a device is called tells of the machine; pass devices on, and ask nothing of them"
            )
        if depth < 6:
            inner: Any = ()
            if isinstance(value, list | tuple | set | frozenset):
                inner = value
            elif isinstance(value, dict):
                inner = (*value, *value.values())
            elif type(value).__module__ == self.hooks.filename:
                inner = getattr(value, "__dict__", {}).values()
            for part in inner:
                self.check_device(part, depth + 1)

    def check_text(self, value: Any, depth: int = 0) -> None:
        """Refuse a text that would tell an address in memory, or the device."""
        self.check_device(value)
        if isinstance(value, list | tuple | dict | set | frozenset) and depth < 6:
            for part in (*value, *(value.values() if isinstance(value, dict) else ())):
                self.check_text(part, depth + 1)
        elif not isinstance(value, _WRITTEN) and not is_shape_number(value):
            _, session = self.hooks.watching()
            session.mark_line()
            session.refuse("DPA116", f"the text of a {type(value).__name__} may tell its address in memory")

    def lose_inside(self, value: Any, depth: int = 0) -> None:
        """Every number from a shape in there goes on as a plain one."""
        if isinstance(value, slice):
            value = value.start, value.stop, value.step
        self.lost_shape(value)
        if depth < 6 and isinstance(value, list | tuple | set | frozenset):
            for part in value:
                self.lose_inside(part, depth + 1)
        elif depth < 6 and isinstance(value, dict):
            for part in (*value.keys(), *value.values()):
                self.lose_inside(part, depth + 1)

    def _note_lengths(self, args: tuple[Any, ...]) -> None:
        for value in args:
            if hasattr(value, "__len__"):
                self.note_public("the length of a list", len(value))

    def _zip(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        lengths = {len(a) for a in args if hasattr(a, "__len__")}
        _, session = self.hooks.watching()
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
        draw: Any = torch.randn([size_value(n) for n in shape], dtype=torch.float64)
        return ArrayProxy(draw * given.get("scale", 1.0) + given.get("loc", 0.0))

    def _converted(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = args[0]
        if len(args) > 1 or set(kwargs) - {"dtype"}:
            self.hooks.watching()[1].refuse("DPA109", f"numpy.{name} of a tensor takes nothing but a type here")
        if name == "from_numpy":
            return value.tensor if isinstance(value, ArrayProxy) else torch.from_numpy(value)
        array = value if isinstance(value, ArrayProxy) else value.numpy()
        if not isinstance(array, ArrayProxy):
            return getattr(np, name)(array, **kwargs)
        array = array.copy() if name == "array" else array
        return array if kwargs.get("dtype") is None else array.astype(kwargs["dtype"], copy=False)

    def _foreign(self, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(function, np.ufunc) or (
            getattr(function, "__module__", "") in {"numpy", "numpy.linalg"} and not isinstance(function, type)
        ):
            if kwargs.get("out") is not None:
                self.escape("the memory of a NumPy array")
            converted = [ArrayProxy(torch.tensor(a)) if self.holds_tracked(a) else a for a in args]
            if name in {"array", "asarray"}:
                return converted[0]
            if name in {"fromiter", "put", "copyto", "place", "putmask", "full", "append", "insert", "fill_diagonal"}:
                self.escape(f"numpy.{name}")
            return function(*converted, **kwargs)
        self.escape(f"the call of {name or function!r}")
        return None


_HOLDING = frozenset(
    {"append", "extend", "setdefault", "update", "get", "add", "copy", "clear", "keys", "values", "items"}
)
