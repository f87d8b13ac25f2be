"""Intervals of real numbers: ranges of sums, products, powers and functions of one argument."""

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]
ROUNDING = 2.0**-20
"""Of a sum of a few float32 numbers, and of a comparison, relative to the magnitudes: 16 units in the last place."""
VANISHING = 2.0**-100
"""What float32 may take for zero, with room for a sum of 2^26 squares that are flushed to zero one by one."""
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
STEPS = frozenset({"floor", "ceil", "round"})
"""Functions that jump."""


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
    if name in STEPS:
        # A step just beyond an end is taken where float32 rounds the argument up to it, or down.
        argument = argument[0] - ROUNDING * abs(argument[0]), argument[1] + ROUNDING * abs(argument[1])
    if name in {"log", "log1p"} and argument[0] + (name == "log1p") < 0:
        return EVERYTHING
    if not math.isinf(argument[0]):
        low = max(low, evaluate_function(name, argument[0]))
    if not math.isinf(argument[1]):
        high = min(high, evaluate_function(name, argument[1]))
    return low, high


def rounded_sum(parts: Sequence[Interval]) -> Interval:
    """Range of a sum as float32 computes it, in any order, from parts that stay in their ranges.

    Rounding is monotone, so the smallest result comes of the smallest parts, and is off by a part of their magnitudes; the
    sum of two numbers that float32 holds has the sign that it should.
    """
    low, high = sum(p[0] for p in parts), sum(p[1] for p in parts)
    if len(parts) == 1:
        return low, high
    if not (math.isfinite(low) or low == -math.inf) or not (math.isfinite(high) or high == math.inf):
        return EVERYTHING
    below, above = sum(abs(p[0]) for p in parts), sum(abs(p[1]) for p in parts)
    two = len(parts) == 2
    if not (two and low == 0 and all(map(_is_short, (p[0] for p in parts)))):
        low -= ROUNDING * below
    if not (two and high == 0 and all(map(_is_short, (p[1] for p in parts)))):
        high += ROUNDING * above
    return low, high


def _is_short(x: float) -> bool:
    """Whether float32 holds a number exactly."""
    return not math.isfinite(x) or float(np.float32(x)) == x


def surely_less(a: float, b: float) -> bool:
    """``a < b`` by more than float32 may be off."""
    return a + ROUNDING * (abs(a) if math.isfinite(a) else 0.0) < b - ROUNDING * (abs(b) if math.isfinite(b) else 0.0)


def surely_at_most(a: float, b: float) -> bool:
    """``a <= b`` whatever float32 does: by a margin, or at zero, which it holds."""
    return surely_less(a, b) or (a == b == 0.0)


def flushed(ends: Interval) -> Interval:
    """A range whose ends float32 may take for zero, or for infinite, widened to where it can tell."""
    low, high = ends
    if 0 < low < VANISHING or -VANISHING < low < 0:
        low = 0.0 if low > 0 else -VANISHING
    if 0 < high < VANISHING or -VANISHING < high < 0:
        high = 0.0 if high < 0 else VANISHING
    return (-math.inf if low < -1 / VANISHING else low), (math.inf if high > 1 / VANISHING else high)
