"""Numbers that come from shapes: each carries its value at the tiny shape that runs and at the real shape.

A number that loses its tracking (in C code, say) must be the same at both, else the mechanism is refused: a formula may come
out alike at all small shapes that are tried and otherwise at the real one. As a size or a place only sizes are taken.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

from .session import Session


class ShapeInt(int):
    """An int with its value at the real shape (``full``); ``batch`` marks a number of rows."""

    full: float
    batch: bool
    session: Session

    def __new__(cls, tiny: int, full: float, batch: bool, session: Session) -> "ShapeInt":
        self = super().__new__(cls, tiny)
        self.full, self.batch, self.session = full, batch, session
        return self

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __deepcopy__(self, memo: Any) -> "ShapeInt":
        return self


class ShapeFloat(float):
    """A float computed from a :class:`ShapeInt`."""

    full: float
    batch: bool
    session: Session

    def __new__(cls, tiny: float, full: float, batch: bool, session: Session) -> "ShapeFloat":
        self = super().__new__(cls, tiny)
        self.full, self.batch, self.session = full, batch, session
        return self

    def __reduce__(self) -> Any:
        return float, (float(self),)

    def __deepcopy__(self, memo: Any) -> "ShapeFloat":
        return self


ShapeNumber = ShapeInt | ShapeFloat


def is_shape_number(value: object) -> bool:
    return isinstance(value, ShapeInt | ShapeFloat)


def full_value(value: Any) -> Any:
    """The value at the real shape, of any number."""
    return value.full if isinstance(value, ShapeInt | ShapeFloat) else value


def plain_value(value: Any) -> Any:
    """The value at the tiny shape as an ordinary number."""
    if isinstance(value, ShapeInt):
        return int.__int__(value)
    return float.__float__(value) if isinstance(value, ShapeFloat) else value


def numeric_value(value: Any) -> Any:
    """The number to compute with; refuses where it is the private number of rows."""
    if not isinstance(value, ShapeInt | ShapeFloat):
        return value
    if value.batch and value.session.sampled:
        value.session.mark_line()
        value.session.refuse(
            "DPA108",
            "the realised batch size is used as a number, and it is private here; "
            "use the batch size that the constructor got",
        )
    return value.full


def size_value(value: Any) -> Any:
    """The value at the tiny shape, to be used as a size or a place.

    Refuses a number that is no size at the real shape where it is one at the small shape: an axis, a count of
    coordinates, or the number of rows. ``numel // 60`` could be 0 at every small shape that is tried, and 1 in reality.
    """
    if isinstance(value, ShapeInt | ShapeFloat):
        pair = plain_value(value), value.full
        if pair[0] != pair[1] and pair not in value.session.sizes:
            value.session.mark_line()
            value.session.refuse(
                "DPA111",
                f"a number computed from shapes is used as a size or a place: {pair[0]} at the small shape, "
                f"{value.full:g} at the real one, which is no axis or count of coordinates there",
            )
    return plain_value(value)


def lost_value(value: Any) -> Any:
    """The value at the tiny shape, to be used where it cannot be followed; refuses unless it is the real one too."""
    if isinstance(value, ShapeInt | ShapeFloat):
        value.session.note_public("a size as a plain number", float(plain_value(value)))
        if plain_value(value) != value.full:
            value.session.refuse(
                "DPA111",
                f"a number computed from shapes goes where it cannot be followed: it is {plain_value(value):g} at the "
                f"small shape and {value.full:g} at the real one",
            )
    return plain_value(value)


def lift(function: Callable[..., Any], *values: Any) -> Any:
    """``function(*values)`` at both shapes."""
    tracked = [v for v in values if isinstance(v, ShapeInt | ShapeFloat)]
    session = tracked[0].session
    batch = any(v.batch for v in tracked)
    tiny, full = function(*map(plain_value, values)), function(*map(full_value, values))
    if isinstance(tiny, bool):
        return _agree(session, batch, values, tiny, full)
    if isinstance(tiny, int):
        return ShapeInt(tiny, full, batch, session)
    return ShapeFloat(float(tiny), float(full), batch, session) if isinstance(tiny, float) else NotImplemented


def _agree(session: Session, batch: bool, values: tuple[Any, ...], tiny: bool, full: bool) -> bool:
    if batch and session.sampled:
        only = [plain_value(v) for v in values if not isinstance(v, ShapeInt | ShapeFloat)]
        same = not only and len({(plain_value(v), full_value(v)) for v in values}) == 1
        if not (same or (len(values) <= 2 and only in ([], [0], [1]) and tiny == full and (only or len(values) == 1))):
            session.mark_line()
            session.refuse("DPA108", "control flow depends on the realised batch size, which is private here")
        return tiny
    if tiny != full:
        session.mark_line()
        session.refuse(
            "DPA111",
            f"a comparison on a number taken from a shape comes out {full} at the real shape and {tiny} at the small one",
        )
    return tiny


def _binary(function: Callable[..., Any], swapped: bool = False) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        if type(other) not in _PLAIN:
            return NotImplemented
        return lift(function, other, self) if swapped else lift(function, self, other)

    return method


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *rest: lift(lambda value: function(value, *rest), self)


def _losing(name: str) -> Callable[..., Any]:
    """A method whose result cannot be followed."""

    def method(self: Any, *rest: Any) -> Any:
        return getattr(lost_value(self), name)(*rest)

    return method


_LOSING = (
    "__divmod__", "__rdivmod__", "__format__", "__str__", "__repr__", "bit_length", "bit_count", "to_bytes", "as_integer_ratio",
    "hex", "is_integer", "__invert__", "__index__", "__int__", "__float__",
)  # fmt: skip
_PLAIN = frozenset({int, float, bool, ShapeInt, ShapeFloat})
_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift", "rshift", "and_", "or_", "xor")
_UNARY: dict[str, Callable[..., Any]] = {
    "__neg__": operator.neg, "__pos__": operator.pos, "__abs__": abs, "__round__": round,
    "__floor__": math.floor, "__ceil__": math.ceil, "__trunc__": math.trunc,
}  # fmt: skip


def _install(kind: type) -> None:
    for name in _ARITHMETIC:
        function = getattr(operator, name)
        setattr(kind, f"__{name.rstrip('_')}__", _binary(function))
        setattr(kind, f"__r{name.rstrip('_')}__", _binary(function, swapped=True))
    for name in ("lt", "le", "gt", "ge", "eq", "ne"):
        setattr(kind, f"__{name}__", _binary(getattr(operator, name)))
    for name, function in _UNARY.items():
        setattr(kind, name, _unary(function))
    for name in _LOSING:
        if hasattr(kind, name):
            setattr(kind, name, _losing(name))
    for name in ("real", "numerator"):
        if hasattr(kind, name):
            setattr(kind, name, property(lambda self: self))
    setattr(kind, "__bool__", _unary(bool))  # noqa: B010 - on both classes alike
    setattr(kind, "__hash__", lambda self: hash(lost_value(self)))  # noqa: B010


_install(ShapeInt)
_install(ShapeFloat)
