"""Elementwise operations: arithmetic, comparison, choice and functions of one argument."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .operands import Handler, Operands
from .shadow import Ids, is_short

_FUNCTIONS = {
    "exp": "exp", "log": "log", "log1p": "log1p", "expm1": "expm1", "tanh": "tanh", "sigmoid": "sigmoid", "erf": "erf",
    "sign": "sign", "sgn": "sign", "sin": "sin", "cos": "cos", "atan": "atan", "softplus": "softplus",
    "floor": "floor", "ceil": "ceil", "round": "round",
}  # fmt: skip


def _add(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    a, b = o.ids(args[0]), o.ids(args[1])
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    return o.each(lambda x, y: o.total([x, o.table.scale(y, float(alpha))]), a, b)


def _sub(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    a, b = o.ids(args[0]), o.ids(args[1])
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    return o.each(lambda x, y: o.total([x, o.table.scale(y, -float(alpha))]), a, b)


def _rsub(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    return o.each(lambda x, y: o.total([y, o.table.scale(x, -float(alpha))]), o.ids(args[0]), o.ids(args[1]))


def _mul(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    if getattr(result, "dtype", None) is torch.bool:
        return np.asarray(_junction("and")(o, overload, args, kwargs, result))
    return o.each(o.product, o.ids(args[0]), o.ids(args[1]))


def _quotient(o: Operands, a: int, b: int) -> int:
    known = o.table.value(b)
    if known is not None:
        if known == 0:
            o.session.refuse("DPA109", "a division by the constant 0")
        return o.table.scale(a, 1 / known)
    return o.product(a, o.table.power(o.session.settle(b), -1.0))


def _div(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    ratio = o.each(lambda x, y: _quotient(o, x, y), o.ids(args[0]), o.ids(args[1]))
    mode = kwargs.get("rounding_mode")
    if mode is None:
        return ratio
    if mode == "floor":
        return o.each(lambda x: o.table.function("floor", o.session.settle(x)), ratio)
    return o.each(lambda x: o.session.opaque("trunc", *o.touched([o.session.settle(x)])), ratio)


def _pow(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    def power(x: int, y: int) -> int:
        exponent = o.table.value(y)
        x = o.session.settle(x)
        if exponent is not None:
            return o.table.power(x, exponent)
        base = o.table.value(x)
        if base is not None and base > 0:
            return o.table.function("exp", o.table.scale(o.session.settle(y), math.log(base)))
        return o.session.opaque("pow", *o.touched([x, o.session.settle(y)]))

    return o.each(power, o.ids(args[0]), o.ids(args[1]))


def _fixed_power(exponent: float) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        return o.each(lambda x: o.table.power(x, exponent), o.settled(args[0]))

    return handler


def _scaled(by: float) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        return o.each(lambda x: o.table.scale(x, by), o.ids(args[0]))

    return handler


def _function(name: str) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        if len(args) > 1 or kwargs:
            o.session.refuse("DPA109", f"{name} with options is outside the verified set")
        return o.each(lambda x: o.table.function(name, x), o.settled(args[0]))

    return handler


def _abs(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return o.each(o.table.absolute, o.settled(args[0]))


def _extreme(which: str) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Any:
        return o.each(lambda x, y: o.table.extreme(which, (x, y)), o.settled(args[0]), o.settled(args[1]))

    return handler


def _passing_over_nan(which: str) -> Handler:
    plain = _extreme(which)

    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Any:
        if any(map(o.table.floats.may_be_nan, (x for a in args[:2] for x in o.settled(a).reshape(-1).tolist()))):
            o.table.floats.depart("fmin and fmax pass over NaN, which a private value may be here")
        return plain(o, overload, args, kwargs, result)

    return handler


def _clamp(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    ids = o.settled(args[0])
    if low is not None:
        ids = o.each(lambda x, y: o.table.extreme("max", (x, y)), ids, o.settled(low))
    if high is not None:
        ids = o.each(lambda x, y: o.table.extreme("min", (x, y)), ids, o.settled(high))
    return ids


def _one_sided(name: str) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        limit = args[1] if len(args) > 1 else kwargs[name]
        which = "max" if name == "min" else "min"
        return o.each(lambda x, y: o.table.extreme(which, (x, y)), o.settled(args[0]), o.settled(limit))

    return handler


def _relu(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return o.each(lambda x: o.table.extreme("max", (x, o.table.zero)), o.settled(args[0]))


def _compare(op: str) -> Handler:
    def decide(o: Operands, a: int, b: int) -> int:
        match op:
            case "lt" | "le":
                return o.table.compare(op, a, b)
            case "gt":
                return o.table.compare("lt", b, a)
            case "ge":
                return o.table.compare("le", b, a)
            case "eq":
                return o.table.compare("eq", a, b)
            case _:
                return o.table.negate(o.table.compare("eq", a, b))

    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        return o.each(lambda a, b: decide(o, a, b), o.settled(args[0]), o.settled(args[1]))

    return handler


def truth(o: Operands, x: int) -> int:
    """``x != 0`` as a boolean expression."""
    if o.table.kind(x) in {"r", "lt", "le", "eq", "not", "and", "or"}:
        return x
    return o.table.negate(o.table.compare("eq", x, o.table.zero))


def _junction(op: str) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        if getattr(result, "dtype", None) is not torch.bool:
            o.session.refuse("DPA109", "bit operations on numbers are outside the verified set")
        return o.each(
            lambda a, b: o.table.junction(op, (truth(o, a), truth(o, b))), o.settled(args[0]), o.settled(args[1])
        )

    return handler


def _not(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    if getattr(result, "dtype", None) is not torch.bool:
        o.session.refuse("DPA109", "bit operations on numbers are outside the verified set")
    return o.each(lambda a: o.table.negate(truth(o, a)), o.settled(args[0]))


def _where(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    return o.each(o.table.where, o.settled(args[0]), o.settled(args[1]), o.settled(args[2]))


def _masked_fill(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    ids = o.each(lambda m, v, x: o.table.where(m, v, x), o.settled(args[1]), o.settled(args[2]), o.settled(args[0]))
    return np.array(np.broadcast_to(ids, tuple(result.shape)))


def test(o: Operands, name: str, x: int) -> int:
    """``isnan(x)``, ``isinf(x)`` or ``isfinite(x)``: known where float32 cannot give these for finite gradients."""
    floats, table = o.table.floats, o.table
    nan, infinite = floats.may_be_nan(x), floats.may_be_infinite(x)
    if (nan or (infinite and name != "isnan")) and table.is_private(x):
        return table.unforeseen(name, x)
    o.session.notes.setdefault("tests for NaN and Inf were taken to find none", table.line)
    return table.constant(float(name == "isfinite"))


def _test(name: str) -> Handler:
    """Tests for NaN and Inf, under the printed assumption that gradients are finite."""

    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        return o.each(lambda x: test(o, name, x), o.settled(args[0]))

    return handler


def _nan_to_num(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    largest = torch.finfo(args[0].dtype).max
    given = [
        kwargs.get(name, args[k] if len(args) > k else None) for k, name in enumerate(("nan", "posinf", "neginf"), 1)
    ]
    nan, high, low = (
        float(default if v is None else v) for v, default in zip(given, (0.0, largest, -largest), strict=True)
    )

    def replaced(x: int) -> int:
        floats, table = o.table.floats, o.table
        new = x
        if table.is_private(x) and (floats.may_be_infinite(x) or floats.may_be_nan(x)):
            if not table.is_nonnegative(x):
                new = table.where(table.unforeseen("is -inf", x), table.constant(low), new)
            new = table.where(table.unforeseen("is inf", x), table.constant(high), new)
            new = table.where(table.unforeseen("isnan", x), table.constant(nan), new) if floats.may_be_nan(x) else new
        return new

    o.session.notes.setdefault("tests for NaN and Inf were taken to find none", o.table.line)
    return o.each(replaced, o.settled(args[0]))


def _ternary(divide: bool) -> Handler:
    def handler(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
        value = float(kwargs.get("value", args[3] if len(args) > 3 else 1))

        def combine(x: int, y: int, w: int) -> int:
            term = _quotient(o, y, w) if divide else o.product(y, w)
            return o.total([x, o.table.scale(term, value)])

        return o.each(combine, o.ids(args[0]), o.ids(args[1]), o.ids(args[2]))

    return handler


def _lerp(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    def mix(a: int, b: int, w: int) -> int:
        complement = o.table.subtract(o.table.one, w)
        return o.total([o.product(a, complement), o.product(b, w)])

    return o.each(mix, o.ids(args[0]), o.ids(args[1]), o.ids(args[2]))


def _truncated(o: Operands, x: int) -> int:
    value = o.table.value(x)
    return o.session.opaque("trunc", *o.touched([x])) if value is None else o.table.constant(float(math.trunc(value)))


def _cast(o: Operands, overload: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> Ids:
    source, target = args[0].dtype, result.dtype
    if target is torch.bool and source is not torch.bool:
        return o.each(lambda x: truth(o, x), o.settled(args[0]))
    if source.is_floating_point and not target.is_floating_point and not o.shadows.is_constant(args[0]):
        return o.each(lambda x: _truncated(o, x), o.settled(args[0]))
    if is_short(target):
        # What noise already covers is released here: its rounding is post-processing.
        return o.settled(args[0]).copy()
    return o.ids(args[0]).copy()


_Unary = Callable[[Operands, str, Sequence[Any], dict[str, Any], Any], Any]

HANDLERS: dict[str, Handler] = {
    "add": _add, "sub": _sub, "rsub": _rsub, "mul": _mul, "div": _div, "true_divide": _div, "pow": _pow,
    "sqrt": _fixed_power(0.5), "rsqrt": _fixed_power(-0.5), "square": _fixed_power(2.0), "reciprocal": _fixed_power(-1.0),
    "neg": _scaled(-1.0), "positive": _scaled(1.0), "abs": _abs, "relu": _relu,
    "minimum": _extreme("min"), "maximum": _extreme("max"), "fmin": _passing_over_nan("min"), "fmax": _passing_over_nan("max"),
    "clamp": _clamp, "clip": _clamp, "clamp_min": _one_sided("min"), "clamp_max": _one_sided("max"),
    "lt": _compare("lt"), "le": _compare("le"), "gt": _compare("gt"), "ge": _compare("ge"),
    "eq": _compare("eq"), "ne": _compare("ne"),
    "logical_and": _junction("and"), "logical_or": _junction("or"), "bitwise_and": _junction("and"),
    "bitwise_or": _junction("or"), "logical_not": _not, "bitwise_not": _not,
    "where": _where, "masked_fill": _masked_fill,
    "isnan": _test("isnan"), "isinf": _test("isinf"), "isfinite": _test("isfinite"), "nan_to_num": _nan_to_num,
    "addcmul": _ternary(False), "addcdiv": _ternary(True), "lerp": _lerp, "_to_copy": _cast,
    **{name: _function(kept) for name, kept in _FUNCTIONS.items()},
}  # fmt: skip
"""By ATen name without namespace, overload and trailing underscore."""
