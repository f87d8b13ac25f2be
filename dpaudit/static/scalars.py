"""Tracked numbers: what ``.item()`` returns where the value is not a known constant."""

import math
from collections.abc import Callable
from typing import Any

from .handlers_elementwise import truth
from .operands import Operands
from .raising import check_division, check_function, check_power, raise_where
from .shape_numbers import numeric_value
from .step_numbers import is_step_number


class Tracked(float):
    """A float that carries its expression. Its own value is one sample and is never trusted.

    Formatting, hashing and use as an index are refused: the text or the place would be private and untracked.
    """

    expression: int
    operands: Operands

    def __new__(cls, value: float, expression: int, operands: Operands) -> "Tracked":
        self = super().__new__(cls, value)
        self.expression, self.operands = expression, operands
        return self

    def __bool__(self) -> bool:
        self.operands.session.mark_line()
        return self.operands.session.decide(truth(self.operands, self.operands.session.settle(self.expression)))

    def __deepcopy__(self, memo: Any) -> "Tracked":
        return self

    def _escape(self, *_: Any) -> Any:
        session = self.operands.session
        session.mark_line()
        if session.table.touch[session.settle(self.expression)]:
            session.refuse(
                "DPA110", "a private number is turned into text, an index or a key, where it cannot be followed"
            )
        session.refuse(
            "DPA110", "a released number is turned into text, an index or a key, where it cannot be followed"
        )

    __hash__ = _escape
    __index__ = _escape

    def __format__(self, spec: str) -> str:
        return self._escape()  # type: ignore[no-any-return]

    __str__ = __repr__ = _escape

    def __reduce__(self) -> Any:
        return self._escape()

    def __int__(self) -> Any:
        return self._escape()

    __float__ = __divmod__ = __rdivmod__ = __getnewargs__ = __complex__ = _escape
    hex = is_integer = as_integer_ratio = _escape

    @property
    def real(self) -> Any:
        return self

    @property
    def imag(self) -> Any:
        return 0.0

    def conjugate(self) -> Any:
        return self


def wrap(operands: Operands, expression: int, value: float = 0.5) -> Any:
    """A plain float for a known constant, else a :class:`Tracked`."""
    known = operands.table.value(expression)
    return known if known is not None else Tracked(value, expression, operands)


def wrap_truth(operands: Operands, expression: int) -> Any:
    """A plain truth value for a known one, else a :class:`Tracked`."""
    known = operands.table.value(expression)
    return bool(known) if known is not None else Tracked(0.5, expression, operands)


def expression_of(operands: Operands, value: Any) -> int:
    """Expression of any number."""
    if is_step_number(value):
        value = value.book.use(value)
    if isinstance(value, Tracked):
        return value.expression
    return operands.table.constant(float(numeric_value(value)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, complex)


def _binary(
    build: Callable[[Operands, int, int], int], swapped: bool = False, wrapped: Callable[[Operands, int], Any] = wrap
) -> Callable[..., Any]:
    def method(self: Tracked, other: Any) -> Any:
        if not _is_number(other):
            return NotImplemented
        self.operands.session.mark_line()
        a, b = self.expression, expression_of(self.operands, other)
        return wrapped(self.operands, build(self.operands, *((b, a) if swapped else (a, b))))

    return method


def _quotient(o: Operands, a: int, b: int) -> int:
    b = o.session.settle(b)
    check_division(o, b)
    return o.product(a, o.table.power(b, -1.0))


def _power(o: Operands, a: int, b: int) -> int:
    exponent, base = o.table.value(b), o.table.value(a)
    if exponent is not None:
        a = o.session.settle(a)
        check_power(o, a, exponent)
        return o.table.power(a, exponent)
    if base is not None and base > 0:
        limit = o.table.scale(o.session.settle(b), math.log(base))
        raise_where(o, o.table.compare("lt", o.table.constant(709.0), limit), OverflowError, "a power overflows")
        return o.table.function("exp", o.table.scale(o.session.settle(b), math.log(base)))
    return unknown(o, "pow", a, b)


def _modulo(o: Operands, a: int, b: int) -> int:
    check_division(o, o.session.settle(b))
    return unknown(o, "mod", a, b)


def unknown(o: Operands, name: str, *parts: int) -> int:
    """An expression that nothing is known of but the samples it depends on."""
    settled = [o.session.settle(p) for p in parts]
    if any(o.table.floats.may_be_nan(p, divided=True) for p in settled):
        name = f"{name} of what may be NaN"
    return o.session.opaque(name, *o.touched(settled))


def _settled(build: Callable[[Operands, int, int], int]) -> Callable[[Operands, int, int], int]:
    return lambda o, a, b: build(o, o.session.settle(a), o.session.settle(b))


_BUILDERS: dict[str, Callable[[Operands, int, int], int]] = {
    "add": lambda o, a, b: o.total([a, b]),
    "sub": lambda o, a, b: o.total([a, o.table.scale(b, -1.0)]),
    "mul": lambda o, a, b: o.product(a, b),
    "truediv": _quotient,
    "pow": _power,
    "mod": lambda o, a, b: _modulo(o, a, b),
    "floordiv": lambda o, a, b: o.table.function("floor", o.session.settle(_quotient(o, a, b))),
}
_COMPARISONS: dict[str, Callable[[Operands, int, int], int]] = {
    "lt": lambda o, a, b: o.table.compare("lt", a, b),
    "le": lambda o, a, b: o.table.compare("le", a, b),
    "gt": lambda o, a, b: o.table.compare("lt", b, a),
    "ge": lambda o, a, b: o.table.compare("le", b, a),
    "eq": lambda o, a, b: o.table.compare("eq", a, b),
    "ne": lambda o, a, b: o.table.negate(o.table.compare("eq", a, b)),
}


def unary(value: Tracked, build: Callable[[Operands, int], int]) -> Any:
    """Apply a builder of one settled argument."""
    o = value.operands
    o.session.mark_line()
    return wrap(o, build(o, o.session.settle(value.expression)))


def _whole(o: Operands, name: str, x: int) -> int:
    check_function(o, name, x)
    return o.table.function(name, x) if name in {"floor", "ceil"} else unknown(o, name, x)


def _install() -> None:
    for name, build in _BUILDERS.items():
        setattr(Tracked, f"__{name}__", _binary(build))
        setattr(Tracked, f"__r{name}__", _binary(build, swapped=True))
    for name, build in _COMPARISONS.items():
        setattr(Tracked, f"__{name}__", _binary(_settled(build), wrapped=wrap_truth))
    for name, function in _UNARY.items():
        setattr(Tracked, f"__{name}__", function)


_UNARY: dict[str, Callable[..., Any]] = {
    "neg": lambda self: wrap(self.operands, self.operands.table.scale(self.expression, -1.0)),
    "pos": lambda self: self,
    "abs": lambda self: unary(self, lambda o, x: o.table.absolute(x)),
    "round": lambda self, *rest: unary(self, lambda o, x: _whole(o, "round", x)),
    "floor": lambda self: unary(self, lambda o, x: _whole(o, "floor", x)),
    "ceil": lambda self: unary(self, lambda o, x: _whole(o, "ceil", x)),
    "trunc": lambda self: unary(self, lambda o, x: _whole(o, "trunc", x)),
}


_install()
