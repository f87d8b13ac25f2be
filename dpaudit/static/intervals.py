"""Intervals of real numbers: ranges of sums, products, powers and functions of one argument."""

import math

Interval = tuple[float, float]
EVERYTHING: Interval = (-math.inf, math.inf)

FUNCTION_RANGE: dict[str, Interval] = {
    "exp": (0.0, math.inf),
    "tanh": (-1.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "erf": (-1.0, 1.0),
    "sign": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "atan": (-math.pi / 2, math.pi / 2),
    "expm1": (-1.0, math.inf),
    "softplus": (0.0, math.inf),
}
"""Range of every function of one argument that is kept as an opaque node; a name not listed has range R."""

MONOTONE = frozenset(
    {"exp", "tanh", "sigmoid", "erf", "atan", "log", "log1p", "expm1", "sign", "softplus", "floor", "ceil", "round"}
)


def interval_product(left: Interval, right: Interval) -> Interval:
    """Product of two intervals; an infinite end means unbounded, so ``0 * inf`` is 0."""
    products = [0.0 if a == 0 or b == 0 else a * b for a in left for b in right]
    return min(products), max(products)


def interval_power(base: Interval, exponent: float) -> Interval:
    """``base ** exponent``; everything where a fractional power of a negative number could occur."""
    low, high = base
    if exponent == 0:
        return 1.0, 1.0
    if low >= 0:
        ends = (power_of(low, exponent), power_of(high, exponent))
        return min(ends), max(ends)
    if exponent == int(exponent) and exponent > 0:
        ends = (power_of(abs(low), exponent), power_of(abs(high), exponent))
        if int(exponent) % 2 == 0:
            return (0.0 if high >= 0 else min(ends)), max(ends)
        return -ends[0], ends[1] if high >= 0 else -ends[1]
    if exponent == int(exponent) and int(exponent) % 2 == 0:
        return (0.0, math.inf) if high >= 0 else interval_power((-high, -low), exponent)
    return EVERYTHING


def power_of(base: float, exponent: float) -> float:
    """``base ** exponent`` for ``base >= 0``, with infinity where it overflows or is divided by 0."""
    if base == 0:
        return 0.0 if exponent > 0 else math.inf
    if math.isinf(base):
        return math.inf if exponent > 0 else 0.0
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def absolute_interval(x: Interval) -> Interval:
    low, high = x
    if low >= 0:
        return x
    return (0.0, max(-low, high)) if high >= 0 else (-high, -low)


def evaluate_function(name: str, value: float) -> float:
    """The function of one argument called ``name``, in double precision."""
    match name:
        case "sigmoid":
            return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
        case "sign":
            return float((value > 0) - (value < 0))
        case "softplus":
            return max(value, 0.0) + math.log1p(math.exp(-abs(value)))
        case "floor" | "ceil":
            return float(getattr(math, name)(value)) if math.isfinite(value) else value
        case "round":
            return float(round(value)) if math.isfinite(value) else value
        case "log" | "log1p":
            shifted = value + (name == "log1p")
            return math.nan if shifted < 0 else (-math.inf if shifted == 0 else getattr(math, name)(value))
        case "exp" | "expm1":
            return math.inf if value > 700 else getattr(math, name)(value)
        case _:
            return float(getattr(math, name)(value))


def function_interval(name: str, argument: Interval) -> Interval:
    """Range of a function over an interval: by monotony where it is monotone, else its whole range."""
    low, high = FUNCTION_RANGE.get(name, EVERYTHING)
    if name not in MONOTONE:
        return low, high
    if name in {"log", "log1p"} and argument[0] + (name == "log1p") < 0:
        return EVERYTHING
    if not math.isinf(argument[0]):
        low = max(low, evaluate_function(name, argument[0]))
    if not math.isinf(argument[1]):
        high = min(high, evaluate_function(name, argument[1]))
    return low, high
