"""Twins of builtins and of ``math`` that understand tracked numbers and numbers from shapes."""

import builtins
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayProxy
from .handlers_elementwise import test, truth
from .operands import Operands
from .raising import check_function
from .scalars import Tracked, expression_of, unary, unknown, wrap, wrap_truth
from .shape_numbers import ShapeFloat, ShapeInt, is_shape_number, lift, lost_value, plain_value, size_value
from .shapes import ShapeBook

Twin = Callable[..., Any]
_FUNCTIONS = {
    "exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1", "tanh": "tanh", "erf": "erf", "sin": "sin",
    "cos": "cos", "atan": "atan", "floor": "floor", "ceil": "ceil",
}  # fmt: skip


def _number(value: Any) -> Any:
    """A tensor or array of one element as a number, tracked where it must be."""
    if isinstance(value, ArrayProxy | Tensor):
        return value.item()
    return value


def _math(name: str, original: Callable[..., Any]) -> Twin:
    def twin(o: Operands, shapes: ShapeBook | None, *args: Any) -> Any:
        values = [_number(a) for a in args]
        if any(isinstance(v, Tracked) for v in values):
            return _tracked_math(o, name, values)
        if any(is_shape_number(v) for v in values):
            return lift(original, *values)
        return original(*values)

    return twin


def _tracked_math(o: Operands, name: str, values: list[Any]) -> Any:
    table = o.table
    if name == "fabs":
        return abs(values[0])
    if name == "pow":
        return values[0] ** values[1]
    if name in {"isnan", "isinf", "isfinite"}:
        x = o.session.settle(expression_of(o, values[0]))
        return wrap_truth(o, test(o, name, x))
    for value in values:
        if name != "hypot":
            check_function(o, name, o.session.settle(expression_of(o, value)))
    if name == "sqrt":
        return unary(values[0], lambda o, x: table.power(x, 0.5))
    if name in _FUNCTIONS and len(values) == 1:
        return unary(values[0], lambda o, x: table.function(_FUNCTIONS[name], x))
    if name == "hypot":
        squares = [table.power(o.session.settle(expression_of(o, v)), 2.0) for v in values]
        return wrap(o, table.power(table.add(squares), 0.5))
    return wrap(o, unknown(o, name, *(expression_of(o, v) for v in values)))


def _math_sum(original: Callable[..., Any]) -> Twin:
    def twin(o: Operands, shapes: ShapeBook | None, values: Any, *rest: Any) -> Any:
        values = list(values)
        return functools.reduce(lambda a, b: a + b, values, *(rest or (0,)))

    return twin


def _prod(o: Operands, shapes: ShapeBook | None, values: Any, *rest: Any, **kwargs: Any) -> Any:
    values = list(values)
    if any(is_shape_number(v) or isinstance(v, Tracked) for v in values):
        return functools.reduce(lambda a, b: a * b, values, 1)
    return math.prod(values) if not kwargs else np.prod(values, **kwargs)


def _extreme(which: str) -> Twin:
    original = getattr(builtins, which)

    def twin(o: Operands, shapes: ShapeBook | None, *args: Any, **kwargs: Any) -> Any:
        values = list(args[0]) if len(args) == 1 else list(args)
        if any(isinstance(v, Tensor | ArrayProxy) for v in values):
            return _extreme_of_tensors(o, original, values, kwargs)
        if kwargs.get("key") is None and any(isinstance(v, Tracked) for v in values):
            parts = [o.session.settle(expression_of(o, v)) for v in values]
            return wrap(o, o.table.extreme(which, parts))
        if any(is_shape_number(v) for v in values) and not kwargs:
            return lift(lambda *v: original(v), *values)
        if kwargs.get("key") is not None and any(isinstance(v, Tracked) for v in values):
            o.session.refuse("DPA110", f"{which} with a key over tracked numbers is outside the verified set")
        return original(values, **kwargs)

    return twin


def _extreme_of_tensors(o: Operands, original: Callable[..., Any], values: list[Any], kwargs: dict[str, Any]) -> Any:
    """One of the tensors themselves, where all are followed as numbers of one element: none may be written to any more."""
    tensors = [v.tensor if isinstance(v, ArrayProxy) else v for v in values]
    numbers = [t.item() if isinstance(t, Tensor) else t for t in tensors]
    if kwargs or not any(isinstance(n, Tracked) for n in numbers):
        return original(values, **kwargs)
    which = "min" if original is min else "max"
    parts = [o.session.settle(expression_of(o, n)) for n in numbers]
    out = torch.zeros((), dtype=torch.result_type(*tensors[:2]) if len(tensors) > 1 else torch.float32)
    o.shadows.write(out, np.array(o.table.extreme(which, parts), dtype=np.int64))
    for tensor in (out, *tensors):
        if isinstance(tensor, Tensor):
            o.shadows.export(tensor)
    return out


def _float(o: Operands, shapes: ShapeBook | None, *args: Any) -> Any:
    value = _number(args[0]) if args else 0.0
    if isinstance(value, Tracked):
        return value
    if isinstance(value, ShapeInt | ShapeFloat):
        return ShapeFloat(float(plain_value(value)), value.full, value.batch, value.session)
    return float(value)


def _int(o: Operands, shapes: ShapeBook | None, *args: Any, **kwargs: Any) -> Any:
    value = _number(args[0]) if args else 0
    if isinstance(value, Tracked):
        node = o.table.range(value.expression)
        if o.table.kind(value.expression) in {"lt", "le", "eq", "not", "and", "or"} and node == (0.0, 1.0):
            return value
        check_function(o, "int", o.session.settle(value.expression))
        return unary(value, lambda o, x: unknown(o, "trunc", x))
    if is_shape_number(value):
        return lift(int, value)
    return int(value, *map(lost_value, args[1:]), **{k: lost_value(v) for k, v in kwargs.items()})


def _bool(o: Operands, shapes: ShapeBook | None, *args: Any) -> Any:
    value = args[0] if args else False
    if isinstance(value, Tracked):
        return wrap_truth(o, truth(o, o.session.settle(value.expression)))
    return bool(value)


def _round(o: Operands, shapes: ShapeBook | None, value: Any, *rest: Any) -> Any:
    if isinstance(value, Tensor):
        o.session.refuse("DPA109", "round of a tensor; use torch.round")
    return round(value, *map(lost_value, rest))


def _abs(o: Operands, shapes: ShapeBook | None, value: Any) -> Any:
    return abs(value)


def _len(o: Operands, shapes: ShapeBook | None, value: Any) -> Any:
    if isinstance(value, ArrayProxy):
        value = value.tensor
    if isinstance(value, Tensor) and shapes is not None:
        return value.shape[0]
    return len(value)


def _range(o: Operands, shapes: ShapeBook | None, *args: Any) -> Any:
    plain = range(*[plain_value(a) for a in args])
    stop = args[0] if len(args) == 1 else args[1]
    odd = [a for a in args if is_shape_number(a) and a is not stop]
    if is_shape_number(stop) and not (0 <= plain.start < plain.stop and plain.step == 1):
        odd.append(stop)
    for number in odd:
        # Such a range means something else at another shape: the two shrinkings will tell.
        o.session.note_public("a range by a size", float(plain_value(number)))
    for number in args:
        size_value(number)
    return plain


def _str(o: Operands, shapes: ShapeBook | None, value: Any = "") -> Any:
    return str(value)


def _print(o: Operands, shapes: ShapeBook | None, *args: Any, **kwargs: Any) -> None:
    for value in args:
        if isinstance(value, Tracked) or (isinstance(value, Tensor) and not o.shadows.is_constant(value)):
            o.session.refuse("DPA110", "a private or released value is printed")
    print(*args, **kwargs)


def _any(op: str) -> Twin:
    original = getattr(builtins, op)

    def twin(o: Operands, shapes: ShapeBook | None, values: Any) -> Any:
        if not isinstance(values, list | tuple):
            # What computes its values stops at the first that decides, so each is decided in its turn.
            return original(values)
        if any(isinstance(v, Tracked) for v in values):
            parts = [truth(o, o.session.settle(expression_of(o, v))) for v in values]
            return wrap_truth(o, o.table.junction("or" if op == "any" else "and", parts))
        return original(values)

    return twin


def _sorted(o: Operands, shapes: ShapeBook | None, values: Any, **kwargs: Any) -> Any:
    values = list(values)
    if any(isinstance(v, Tracked) for v in values):
        if kwargs.get("key") is not None:
            o.session.refuse("DPA110", "sorting tracked numbers by a key is outside the verified set")
        parts = [expression_of(o, v) for v in values]
        return [wrap(o, unknown(o, "order statistic", *parts)) for _ in values]
    return sorted(values, **kwargs)


_TWINS: dict[Any, Twin] = {
    sum: _math_sum(sum), math.fsum: _math_sum(math.fsum), math.prod: _prod, np.prod: _prod, max: _extreme("max"),
    min: _extreme("min"), float: _float, int: _int, bool: _bool, round: _round, abs: _abs, len: _len, range: _range,
    str: _str, print: _print, any: _any("any"), all: _any("all"), sorted: _sorted,
    **{
        getattr(math, name): _math(name, getattr(math, name))
        for name in (
            "sqrt", "exp", "log", "log1p", "expm1", "tanh", "erf", "sin", "cos", "atan", "floor", "ceil", "pow", "hypot",
            "fabs", "isnan", "isinf", "isfinite", "log2", "log10", "tan", "cosh", "sinh", "erfc", "gamma", "lgamma",
            "copysign", "trunc", "isclose", "fmod", "atan2", "exp2", "cbrt",
        )
    },
}  # fmt: skip


def find(function: Any) -> Twin | None:
    """The twin of a builtin, if it has one."""
    try:
        return _TWINS.get(function)
    except TypeError:
        return None
