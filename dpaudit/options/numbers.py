"""Numbers on the command line: each says what it expected and what it got."""

import argparse
import math
from collections.abc import Callable


def number(text: str, accept: Callable[[float], bool], expected: str) -> float:
    """Parse one number that ``accept`` accepts; NaN is never accepted by a comparison."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not accept(value):
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value


def not_negative(text: str) -> float:
    """A finite number >= 0."""
    return number(text, lambda value: 0 <= value < math.inf, "a finite number >= 0")


def positive_number(text: str) -> float:
    """A finite number > 0."""
    return number(text, lambda value: 0 < value < math.inf, "a finite number > 0")


def probability(text: str) -> float:
    """A number in (0, 1]."""
    return number(text, lambda value: 0 < value <= 1, "a probability in (0, 1]")


def delta(text: str) -> float:
    """A number in [0, 1)."""
    return number(text, lambda value: 0 <= value < 1, "a delta in [0, 1)")


def positive(text: str) -> int:
    """A whole number >= 1."""
    return int(number(text, lambda value: value >= 1 and value == int(value), "a whole number >= 1"))


def whole(text: str) -> int:
    """A whole number >= 0."""
    return int(number(text, lambda value: value >= 0 and value == int(value), "a whole number >= 0"))
