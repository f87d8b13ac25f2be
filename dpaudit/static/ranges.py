"""Ranges of expressions: intervals that hold for every input, and for more rows and longer axes than were run."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .intervals import (
    EVERYTHING,
    Interval,
    absolute_interval,
    flushed,
    function_interval,
    interval_power,
    interval_product,
    rounded_sum,
)

if TYPE_CHECKING:
    from .expression_store import ExpressionStore


def range_of(table: "ExpressionStore", x: int) -> Interval:
    """An interval that an expression stays in for every input."""
    node = table.nodes[x]
    match node[0]:
        case "c":
            return node[1], node[1]  # type: ignore[return-value]
        case "p":
            return table.public_range[node[1]]
        case "g" | "z" | "h":
            return EVERYTHING
        case "r" | "lt" | "le" | "eq" | "and" | "or" | "not":
            return 0.0, 1.0
        case "lin":
            constant, terms = table.linear(x)
            parts = [interval_product(table.range(t), (k, k)) for t, k in terms]
            low, high = rounded_sum([(constant, constant), *parts] if constant else parts)
            if _may_be_longer(table, x, [t for t, _ in terms]):
                return _longer_sum(table, x, low)
            return low, high
        case "mul":
            result: Interval = (1.0, 1.0)
            for factor, exponent in node[1]:  # type: ignore[attr-defined]
                result = interval_product(result, interval_power(table.range(factor), exponent))
            if _may_be_longer(table, x, [f for f, _ in node[1]]):  # type: ignore[attr-defined]
                result = _longer_product(table, x, result)
            return flushed(result)
        case "min" | "max":
            ends_of = [table.range(c) for c in table.children(x)]
            pick = min if node[0] == "min" else max
            return pick(e[0] for e in ends_of), pick(e[1] for e in ends_of)
        case "where":
            a, b = table.range(node[2]), table.range(node[3])  # type: ignore[arg-type]
            return min(a[0], b[0]), max(a[1], b[1])
        case "abs":
            return absolute_interval(table.range(node[1]))  # type: ignore[arg-type]
        case "fun":
            return flushed(function_interval(str(node[1]), table.range(node[2])))  # type: ignore[arg-type]
        case _:
            return EVERYTHING


def _may_be_longer(table: "ExpressionStore", x: int, parts: Sequence[int]) -> bool:
    """Whether a sum or product may have more terms where there are more rows or longer axes."""
    if not (table.more_rows or table.longer_axes):
        return False
    private = [p for p in parts if table.touch[p]]
    if len(private) < 2:
        return False
    alike = len({table.touch[p] for p in private}) < len(private)
    return (table.longer_axes and alike) or (table.more_rows and table.touch[x] & (table.touch[x] - 1) != 0)


def _longer_sum(table: "ExpressionStore", x: int, low: float) -> Interval:
    constant, terms = table.linear(x)
    ends = [interval_product(table.range(t), (k, k)) for t, k in terms]
    grows = constant > 0 or any(e[1] > 0 for e in ends)
    falls = constant < 0 or any(e[0] < 0 for e in ends)
    return (-math.inf if falls else low), (math.inf if grows else 0.0)


def _longer_product(table: "ExpressionStore", x: int, plain: Interval) -> Interval:
    ends = [interval_power(table.range(f), e) for f, e in table.factors(x)[1] if table.touch[f]]
    sizes = [absolute_interval(e) for e in ends]
    signed = any(e[0] < 0 for e in ends)
    high = math.inf if sum(s[1] > 1 for s in sizes) > 1 else max(abs(plain[0]), abs(plain[1]))
    low = 0.0 if sum(s[0] < 1 for s in sizes) > 1 else plain[0]
    return (-high, high) if signed else (min(low, plain[0]), max(high, plain[1]))
