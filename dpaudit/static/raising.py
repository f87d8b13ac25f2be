"""Exceptions that Python's own arithmetic raises for some values of a tracked number.

Where a handler would catch one, whether it is raised is a branch like any other, and is explored. Where none does, an
exception ends the training, which shows what raised it: for private values that is refused, except for a division by exactly 0,
which is an assumption that the result states.
"""

import math
from typing import NoReturn

from .operands import Operands
from .refusal import follow

LARGEST_EXPONENT, LARGEST = 709.0, 1e308
_NEVER = frozenset({"atan2", "copysign", "erfc", "erf", "tanh", "cbrt", "atan", "fabs", "isclose", "sin", "cos", "tan"})
"""Functions of ``math`` that raise for no finite number."""


def raise_where(o: Operands, condition: int, error: type[ArithmeticError | ValueError], what: str) -> None:
    """``error`` is raised where ``condition`` holds.

    Raises:
        ArithmeticError, ValueError: it does, on this way through the step.
        Refusal: it would end the training for private values (DPA107).
    """
    table, session = o.table, o.session
    known = table.value(condition)
    if known is not None and not known:
        return
    if known or error.__name__ in session.handled:
        if known or session.decide(condition):
            raise follow(error(what))
    elif table.touch[condition] and error is not ZeroDivisionError:
        refuse(o, f"{what} for some rows, which ends the training and shows that they are there")


def refuse(o: Operands, message: str) -> NoReturn:
    o.session.mark_line()
    raise o.session.refuse("DPA107", message)


def check_division(o: Operands, divisor: int) -> None:
    """``x / divisor`` in Python."""
    raise_where(o, o.table.compare("eq", divisor, o.table.zero), ZeroDivisionError, "float division by zero")


def check_power(o: Operands, base: int, exponent: float) -> None:
    """``base ** exponent`` in Python, where a negative base may give a complex number."""
    table = o.table
    if exponent != int(exponent) and not table.is_nonnegative(base):
        o.session.refuse("DPA109", "a broken power of what may be negative is a complex number in Python")
    size = table.absolute(base)
    if exponent < 0:
        raise_where(o, table.compare("eq", base, table.zero), ZeroDivisionError, "a negative power of zero")
        small = table.constant(LARGEST ** (1 / exponent))
        if "OverflowError" in o.session.handled:
            raise_where(o, table.compare("lt", size, small), OverflowError, "a power that overflows")
    elif "OverflowError" in o.session.handled or exponent > 8:
        # A power of a float32 number up to the eighth fits a double.
        largest = table.constant(LARGEST ** (1 / exponent) if exponent > 0 else math.inf)
        raise_where(o, table.compare("lt", largest, size), OverflowError, "a power overflows")


def check_function(o: Operands, name: str, x: int) -> None:
    """``math.name(x)``."""
    table = o.table
    if name in {"exp", "expm1"}:
        limit = table.constant(LARGEST_EXPONENT)
        raise_where(o, table.compare("lt", limit, x), OverflowError, f"math.{name} overflows")
    elif name in {"sqrt", "log", "log1p"}:
        op, limit = ("lt", table.zero) if name == "sqrt" else ("le", table.constant(-float(name == "log1p")))
        raise_where(o, table.compare(op, x, limit), ValueError, f"math.{name} of what it is not defined for")
    elif name in {"floor", "ceil", "trunc", "int", "round"}:
        if table.touch[x] and (table.floats.may_be_infinite(x) or table.floats.may_be_nan(x)):
            refuse(o, f"{name} of what may be infinite raises an error for some rows")
        if {"OverflowError", "ValueError"} & o.session.handled:
            refuse(o, f"{name} of a number that may be infinite, beside a handler")
    elif name not in _NEVER and (table.touch[x] or {"OverflowError", "ValueError"} & o.session.handled):
        refuse(o, f"math.{name} may raise an error for some values")
