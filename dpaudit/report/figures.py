"""Numbers as text. What is printed stays true: lower ends are rounded down, upper ends up."""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from dpaudit.contract import AccuracyRow, Bracket

_DIGITS = 5
_PLAIN_EXPONENTS = range(-3, 7)


def nearest(value: float) -> str:
    """``value`` to five significant digits, rounded to nearest. Infinity is ``inf``."""
    return _rounded(value, ROUND_HALF_EVEN)


def lower_end(value: float) -> str:
    """``value`` to five significant digits, rounded down: still a lower bound."""
    return _rounded(value, ROUND_FLOOR)


def upper_end(value: float) -> str:
    """``value`` to five significant digits, rounded up: still an upper bound."""
    return _rounded(value, ROUND_CEILING)


def noise_factor(value: float) -> str:
    """``value`` to three significant digits, rounded up: still enough noise."""
    return _rounded(value, ROUND_CEILING, digits=3)


def or_missing(value: float | None, missing: str) -> str:
    """``value`` rounded to nearest, or ``missing`` where there is none."""
    return missing if value is None else nearest(value)


def bracket_text(bracket: Bracket, missing: str) -> str:
    """``[lower, upper]``, with ``missing`` for an end where nothing was proved."""
    lower = missing if bracket.lower is None else lower_end(bracket.lower)
    upper = missing if bracket.upper is None else upper_end(bracket.upper)
    return f"[{lower}, {upper}]"


def accuracy_text(row: AccuracyRow) -> str:
    """Mean, spread and number of runs, in percent: ``96.20 ± 0.12 (3 runs)``."""
    spread = "" if row.std is None else f" ± {row.std:.2f}"
    return f"{row.mean:.2f}{spread} ({row.runs} {'run' if row.runs == 1 else 'runs'})"


def duration_text(seconds: float) -> str:
    """Wall time for a person: ``0.4 s``, ``75 s``, ``12 min``."""
    if not seconds < 600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _rounded(value: float, rounding: str, digits: int = _DIGITS) -> str:
    """Shortest decimal of ``value`` cut to ``digits`` significant ones, in the direction asked for."""
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    # repr is the shortest decimal that names this float: 86.1 stays 86.1 in either direction.
    exact = Decimal(repr(value))
    kept = exact.quantize(Decimal(1).scaleb(exact.adjusted() - digits + 1), rounding=rounding).normalize()
    if kept.adjusted() in _PLAIN_EXPONENTS:
        return f"{kept:f}"
    sign, figures, _ = kept.as_tuple()
    mantissa = str(figures[0]) + ("." + "".join(map(str, figures[1:])) if len(figures) > 1 else "")
    return f"{'-' if sign else ''}{mantissa}e{kept.adjusted():+03d}"
