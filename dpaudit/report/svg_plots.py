"""Three small plots as inline SVG: intervals against a target, schedules over steps, dots with a spread.

Widths are percentages and text is in pixels, so that a plot reads the same on a phone and on a desk. Colours come from
classes of the page's style sheet; no mark differs from another by colour alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .figures import nearest
from .svg_axis import Axis, axis_around, axis_from_zero, height_from_zero, linear_ticks
from .svg_marks import element, label, line, picture, sign
from .svg_steps import envelope_path, step_path

_ROW = 46
_TOP = 26
_AXIS_ROOM = 34
_DIAMOND = "M0 -7 L7 0 L0 7 L-7 0 Z"
_ARROW_RIGHT = "M0 -5 L9 0 L0 5 Z"
_ARROW_LEFT = "M0 -5 L-9 0 L0 5 Z"
_CAP = "M0 -7 V7"
_STEP_TOP, _STEP_HEIGHT = 12, 190
_STEP_LEFT, _STEP_WIDTH = 11.0, 87.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One row of an interval plot. A missing end is drawn dashed and open; equal ends are a diamond.

    ``printed`` is the value as text, ``class_`` the mark's class in the style sheet.
    """

    name: str
    printed: str
    lower: float | None
    upper: float | None
    class_: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One row of a dot plot: a mean with a standard deviation on both sides, or without one."""

    name: str
    printed: str
    mean: float
    std: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One line of a step plot: a value or a gap for every step."""

    values: Sequence[float | None]
    class_: str


def interval_plot(name: str, title: str, description: str, rows: Sequence[Interval], target: float) -> str:
    """Intervals under each other against a vertical line at ``target``; a log axis where the values need it."""
    ends = [end for row in rows for end in (row.lower, row.upper) if end is not None]
    axis = axis_from_zero([*ends, target])
    bottom = _TOP + _ROW * len(rows)
    at = axis.position(target)
    # The target is drawn before the rows: their text stays readable where it crosses.
    marks = [_axis_marks(axis, _TOP - 6, bottom), line(at, at, _TOP - 8, bottom, "target")]
    marks += [_interval(row, axis, _TOP + _ROW * place) for place, row in enumerate(rows)]
    marks.append(label(f"target {nearest(target)}", at, _TOP - 12, anchor=_anchor(at), class_="label strong"))
    if axis.log:
        marks.append(label("log scale", axis.ends[1], bottom + 30, anchor="end", class_="label soft"))
    return picture(name, title, description, bottom + _AXIS_ROOM, "".join(marks))


def spread_plot(name: str, title: str, description: str, rows: Sequence[Spread]) -> str:
    """Means with their standard deviations under each other, in percent."""
    ends = [end for row in rows for end in (row.mean - (row.std or 0), row.mean + (row.std or 0))]
    axis = axis_around(ends)
    bottom = 4 + _ROW * len(rows)
    marks = [_axis_marks(axis, 4, bottom)]
    for place, row in enumerate(rows):
        top = 4 + _ROW * place
        marks += [_row_text(row.name, row.printed, top)]
        middle = top + 30
        if row.std is not None:
            left, right = axis.position(row.mean - row.std), axis.position(row.mean + row.std)
            marks += [line(left, right, middle, middle, "bar measured")]
            marks += [sign(_CAP, end, middle, "cap measured") for end in (left, right)]
        marks.append(sign(_DIAMOND, axis.position(row.mean), middle, "point measured"))
    return picture(name, title, description, bottom + _AXIS_ROOM, "".join(marks))


def step_plot(name: str, title: str, description: str, schedules: Sequence[Schedule], steps: int) -> str:
    """Schedules over steps from 0, on an axis from 0; equal neighbours become one segment, gaps stay gaps."""
    known = [value for schedule in schedules for value in schedule.values if value is not None]
    high = height_from_zero(known)
    marks = [_step_grid(high, steps)]
    for schedule in schedules:
        path = step_path(schedule.values, high) or envelope_path(schedule.values, high)
        drawn = element("path", d=path, vector_effect="non-scaling-stroke", class_=schedule.class_)
        marks.append(
            element(
                "svg",
                drawn,
                x=f"{_STEP_LEFT}%",
                y=_STEP_TOP,
                width=f"{_STEP_WIDTH}%",
                height=_STEP_HEIGHT,
                viewBox=f"0 0 {max(steps, 1)} 1000",
                preserveAspectRatio="none",
                overflow="visible",
            )
        )
    return picture(name, title, description, _STEP_TOP + _STEP_HEIGHT + 44, "".join(marks))


def _interval(row: Interval, axis: Axis, top: float) -> str:
    """Text above, and below it the bar with a cap for a proved end and an arrow for an open one."""
    left_end, right_end = axis.ends
    middle = top + 30
    marks = [_row_text(row.name, row.printed, top)]
    if row.lower is None and row.upper is None:
        return "".join([*marks, line(left_end, right_end, middle, middle, "bar open")])
    left = left_end if row.lower is None else axis.position(row.lower)
    right = right_end if row.upper is None else axis.position(row.upper)
    finite = row.upper is not None and math.isfinite(row.upper)
    if row.lower is not None and row.lower == row.upper and finite:
        return "".join([*marks, sign(_DIAMOND, left, middle, f"point {row.class_}")])
    style = row.class_ if row.lower is not None and row.upper is not None else f"{row.class_} open"
    marks.append(line(left, right, middle, middle, f"bar {style}"))
    marks.append(sign(_ARROW_LEFT if row.lower is None else _CAP, left, middle, _end_class(row, row.lower is None)))
    marks.append(sign(_CAP if finite else _ARROW_RIGHT, right, middle, _end_class(row, not finite)))
    return "".join(marks)


def _end_class(row: Interval, arrow: bool) -> str:
    return f"{'point' if arrow else 'cap'} {row.class_}"


def _row_text(name: str, printed: str, top: float) -> str:
    return label(name, 0, top + 14) + label(printed, 100, top + 14, anchor="end", class_="label strong")


def _axis_marks(axis: Axis, top: float, bottom: float) -> str:
    """Base line, faint lines at the ticks, and their values."""
    left, right = axis.ends
    marks = [line(left, right, bottom, bottom, "axis")]
    for tick in axis.ticks:
        at = axis.position(tick)
        marks.append(line(at, at, top, bottom, "grid"))
        marks.append(label(nearest(tick), at, bottom + 16, anchor="middle", class_="label soft"))
    return "".join(marks)


def _step_grid(high: float, steps: int) -> str:
    bottom = _STEP_TOP + _STEP_HEIGHT
    right = _STEP_LEFT + _STEP_WIDTH
    marks = []
    for tick in linear_ticks(0.0, high, most=7):
        y = round(bottom - _STEP_HEIGHT * tick / high, 1)
        marks.append(line(_STEP_LEFT, right, y, y, "grid" if tick else "axis"))
        marks.append(label(nearest(tick), _STEP_LEFT - 1.5, y + 4, anchor="end", class_="label soft"))
    for tick in linear_ticks(0.0, float(max(steps, 1)), most=5):
        if tick == int(tick):
            at = _STEP_LEFT + _STEP_WIDTH * tick / max(steps, 1)
            marks.append(label(f"{tick:.0f}", at, bottom + 17, anchor=_anchor(at), class_="label soft"))
    marks.append(label("step", _STEP_LEFT + _STEP_WIDTH / 2, bottom + 36, anchor="middle", class_="label soft"))
    return "".join(marks)


def _anchor(position: float) -> str:
    """Which end of a text stands at ``position``, so that it stays inside the plot."""
    return "start" if position < 12 else "end" if position > 88 else "middle"
