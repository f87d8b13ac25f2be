"""Numbers that may change from step to step: the step, the epoch, and what a mechanism counts for itself.

They run as ints and floats that carry their formula. Whatever depends on one is recorded in a :class:`StepBook`: the outcome of
every test, and every value that was used where a formula cannot follow (an index, a text, foreign code). All else that a
step does is the same at any step at which these records come out the same, because Python is deterministic; that is how one
analysed step stands for others. A formula is a nested tuple: ``("step",)``, ``("epoch",)``, ``("state", path)``,
``("c", value, type)``, ``("table", values)`` or ``(function, formula, ...)``.
"""

import builtins
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import numpy as np

from .refusal import follow

Formula = tuple[Any, ...]
Environment = Mapping[Formula, int | float]


def _item(index: Any, values: Sequence[Any]) -> Any:
    return values[index]


def _contains(value: Any, values: Sequence[Any]) -> bool:
    return value in values


_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor", "lshift", "rshift")
_TESTS = ("lt", "le", "gt", "ge", "eq", "ne")
_BUILTINS = ("abs", "min", "max", "round", "int", "float", "pow", "bool")
_MATH = (
    "sqrt", "exp", "log", "log1p", "expm1", "log2", "log10", "sin", "cos", "tan", "tanh", "sinh", "cosh", "atan", "asin", "acos",
    "floor", "ceil", "trunc", "pow", "hypot", "fabs", "erf", "erfc", "gamma", "lgamma", "fmod", "atan2", "copysign", "exp2",
    "isnan", "isinf", "isfinite", "degrees", "radians", "cbrt", "gcd", "comb", "factorial", "isclose",
)  # fmt: skip

FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*_OPERATORS, *_TESTS, "neg", "pos", "invert")},
    **{f"builtins.{name}": getattr(builtins, name) for name in _BUILTINS},
    **{f"math.{name}": getattr(math, name) for name in _MATH},
    "item": _item,
    "contains": _contains,
}
_RAISED = (KeyError, ArithmeticError, ValueError, IndexError, TypeError)
_NEVER_RAISE = frozenset({"add", "sub", "mul", "and_", "or_", "xor", "neg", "pos", "invert", "contains", *_TESTS})
"""Every function that a formula may apply; each is deterministic and depends on its arguments alone."""

LIFTED: dict[Any, str] = {function: name for name, function in FUNCTIONS.items() if "." in name}
"""Functions of Python that give a formula when an argument is one."""


class _Bridge(Protocol):
    """What a book needs to give tensors a public unknown in place of a number."""

    def public_number(self, formula: Formula, value: float) -> Any: ...


def evaluate(formula: Formula, environment: Environment) -> Any:
    """Value of a formula at another step, with the very functions that the candidate called.

    Raises:
        KeyError, ArithmeticError, ValueError, IndexError, TypeError: it has no value there.
    """
    head = formula[0]
    if head in {"step", "epoch", "state"}:
        return environment[formula]
    if head in {"c", "table"}:
        return formula[1]
    if head == "defined":
        evaluate(formula[1], environment)
        return True
    if head == "raises":
        try:
            evaluate(formula[1], environment)
        except _RAISED:
            return True
        return False
    return FUNCTIONS[head](*[evaluate(part, environment) for part in formula[1:]])


_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "lt": "<", "le": "<=",
    "gt": ">", "ge": ">=", "eq": "==", "ne": "!=",
}  # fmt: skip


def formula_text(formula: Formula) -> str:
    """A formula as Python would write it. Different formulas have different texts."""
    head, *parts = formula
    match head:
        case "step" | "epoch":
            return str(head)
        case "state":
            return "self." + ".".join(map(str, parts[0]))
        case "c":
            return repr(parts[0])
        case "table":
            return repr(parts[0])
    texts = [formula_text(part) for part in parts]
    if head in _SIGNS and len(texts) == 2:
        return f"({texts[0]} {_SIGNS[head]} {texts[1]})"
    return f"{head}({', '.join(texts)})"


class StepBook:
    """What one way through a step made of the numbers that may change.

    Attributes:
        slots: formulas that tensors meet as positive public unknowns instead of as their value.
        errors: exceptions are caught, so that whether a formula has a value is a test as well.
        records: formula of every test with its outcome, and of every value that was used with that value.
    """

    def __init__(
        self, bridge: _Bridge | None = None, slots: frozenset[Formula] = frozenset(), errors: bool = False
    ) -> None:
        self.bridge, self.errors = bridge, errors
        self.slots = slots
        self.records: dict[Formula, tuple[str, Any]] = {}
        self.used_slots: set[Formula] = set()

    def number(self, formula: Formula, value: Any) -> Any:
        """The value of a formula as a number that goes on carrying it; a truth value is recorded instead."""
        if isinstance(value, bool):
            self.records[formula] = "test", value
            return value
        if isinstance(value, int):
            return StepInt(value, formula, self)
        if isinstance(value, float):
            return StepFloat(value, formula, self)
        self.records[formula] = "value", value
        return value

    def pin(self, number: "StepNumber") -> int | float:
        """The plain number; what follows holds only for steps at which it is the same."""
        value: int | float = plain_number(number)
        self.records[number.formula] = "value", value
        return value

    def use(self, number: "StepNumber") -> Any:
        """The number as tensors are to meet it: a public unknown if it is a slot, else pinned."""
        value = plain_number(number)
        if self.bridge is not None and number.formula in self.slots and value > 0:
            self.used_slots.add(number.formula)
            return self.bridge.public_number(number.formula, float(value))
        return self.pin(number)


class StepInt(int):
    """An int with its formula."""

    formula: Formula
    book: StepBook

    def __new__(cls, value: int, formula: Formula, book: StepBook) -> "StepInt":
        self = super().__new__(cls, value)
        self.formula, self.book = formula, book
        return self


class StepFloat(float):
    """A float with its formula."""

    formula: Formula
    book: StepBook

    def __new__(cls, value: float, formula: Formula, book: StepBook) -> "StepFloat":
        self = super().__new__(cls, value)
        self.formula, self.book = formula, book
        return self


StepNumber = StepInt | StepFloat
_PLAIN = frozenset({int, float, bool})


def is_step_number(value: object) -> TypeGuard[StepNumber]:
    return isinstance(value, StepInt | StepFloat)


def is_plain(value: object) -> bool:
    """An ordinary number, or one with a formula."""
    return type(value) in _PLAIN or isinstance(value, StepInt | StepFloat)


def plain_number(value: Any) -> Any:
    """The value as an ordinary number, recorded nowhere."""
    if isinstance(value, StepInt):
        return int.__index__(value)
    return float.__float__(value) if isinstance(value, StepFloat) else value


def formula_of(value: Any) -> Formula:
    if isinstance(value, StepInt | StepFloat):
        return value.formula
    if isinstance(value, tuple):
        return "table", value
    return "c", value, type(value).__name__


def lift(name: str, *values: Any) -> Any:
    """Apply a function by name to numbers of which at least one carries a formula."""
    book = next(v.book for v in values if isinstance(v, StepInt | StepFloat))
    formula = (name, *map(formula_of, values))
    try:
        value = FUNCTIONS[name](*[plain_number(v) for v in values])
    except _RAISED as error:
        book.records["raises", formula] = "test", True
        raise follow(error) from None
    if book.errors and name not in _NEVER_RAISE:
        book.records["defined", formula] = "test", True
    return book.number(formula, value)


def _binary(name: str, swapped: bool) -> Callable[[Any, Any], Any]:
    function = FUNCTIONS[name]

    def method(self: StepNumber, other: Any) -> Any:
        if is_plain(other):
            return lift(name, other, self) if swapped else lift(name, self, other)
        if isinstance(other, np.ndarray | np.generic):
            mine = self.book.pin(self)
            return function(other, mine) if swapped else function(mine, other)
        if type(other).__module__ == "dpaudit.static.shape_numbers":
            mine = self.book.pin(self)
            return function(other, mine) if swapped else function(mine, other)
        return NotImplemented

    return method


def _unary(name: str) -> Callable[..., Any]:
    return lambda self, *rest: lift(name, self, *rest)


def _pinned(name: str) -> Callable[..., Any]:
    """A method that a formula cannot follow: the number is pinned first."""
    return lambda self, *rest: getattr(self.book.pin(self), name)(*rest)


def _pinned_property(name: str) -> property:
    return property(lambda self: getattr(self.book.pin(self), name))


def _install(kind: type, base: type) -> None:
    for name in _OPERATORS:
        if hasattr(base, f"__{name.rstrip('_')}__"):
            setattr(kind, f"__{name.rstrip('_')}__", _binary(name, swapped=False))
            setattr(kind, f"__r{name.rstrip('_')}__", _binary(name, swapped=True))
    for name in _TESTS:
        setattr(kind, f"__{name}__", _binary(name, swapped=False))
    for name in ("neg", "pos", *(("invert",) if base is int else ())):
        setattr(kind, f"__{name}__", _unary(name))
    setattr(kind, "__abs__", _unary("builtins.abs"))  # noqa: B010 - on both classes alike
    setattr(kind, "__bool__", _unary("builtins.bool"))  # noqa: B010
    setattr(kind, "__round__", _unary("builtins.round"))  # noqa: B010
    for name in ("floor", "ceil", "trunc"):
        setattr(kind, f"__{name}__", _unary(f"math.{name}"))
    followed = {n for n in vars(kind) if n.startswith("__")}
    for name in dir(base):
        if name in followed or name in _HARMLESS:
            continue
        if isinstance(getattr(base, name), property) or not callable(getattr(base, name)):
            setattr(kind, name, _pinned_property(name))
        else:
            setattr(kind, name, _pinned(name))
    setattr(kind, "__deepcopy__", lambda self, memo: self)  # noqa: B010
    setattr(kind, "__copy__", lambda self: self)  # noqa: B010


_HARMLESS = frozenset(
    {
        "__class__", "__new__", "__init__", "__getattribute__", "__setattr__", "__delattr__", "__doc__", "__dir__",
        "__init_subclass__", "__subclasshook__", "__sizeof__", "__getformat__", "__getstate__", "fromhex", "from_bytes",
        "from_number",
    }
)  # fmt: skip

_install(StepInt, int)
_install(StepFloat, float)
