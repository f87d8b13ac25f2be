"""A schedule of many steps as an SVG path, no longer than it needs to be.

Coordinates: one unit a step to the right, 0 (top) to 1000 (bottom, value 0) downwards. Step ``t`` covers ``t`` to ``t + 1``.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

_HEIGHT = 1000
_MOST_RUNS = 4000
_COLUMNS = 1000


def step_path(values: Sequence[float | None], high: float) -> str:
    """The exact path: runs of equal values become one segment, values that are missing or infinite become gaps.

    Empty where the schedule has more than 4,000 runs; see :func:`envelope_path`.
    """
    parts: list[str] = []
    count = 0
    pen_down = False
    for start, stop, value in _runs(values):
        count += 1
        if count > _MOST_RUNS:
            return ""
        if value is None:
            pen_down = False
            continue
        y = _height(value, high)
        parts.append(f"V{y}H{stop}" if pen_down else f"M{start} {y}H{stop}")
        pen_down = True
    return "".join(parts) or "M0 0"


def envelope_path(values: Sequence[float | None], high: float) -> str:
    """The path at the resolution of 1,000 columns: in each, smallest and largest value are both reached."""
    width = -(-len(values) // _COLUMNS)
    parts: list[str] = []
    pen_down = False
    for start in range(0, len(values), width):
        column = [value for value in values[start : start + width] if value is not None and math.isfinite(value)]
        stop = min(start + width, len(values))
        if not column:
            pen_down = False
            continue
        low, top, last = (_height(value, high) for value in (min(column), max(column), column[-1]))
        move = "" if pen_down else f"M{start} {_height(column[0], high)}"
        parts.append(f"{move}V{low}V{top}V{last}H{stop}")
        pen_down = True
    return "".join(parts) or "M0 0"


def _runs(values: Sequence[float | None]) -> Iterator[tuple[int, int, float | None]]:
    """First step, step after the last, value (``None`` for missing or infinite) of every run of equal values."""
    start = 0
    drawn = (value if value is not None and math.isfinite(value) else None for value in values)
    for value, run in groupby(drawn):
        stop = start + sum(1 for _ in run)
        yield start, stop, value
        start = stop


def _height(value: float, high: float) -> str:
    """Distance from the top, inside the frame, to a tenth of a thousandth of the axis: below what a screen can show."""
    return f"{_HEIGHT * (1 - max(0.0, min(value / high, 1.0))):.1f}".removesuffix(".0")
