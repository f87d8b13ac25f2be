"""Axes for small plots: which values are shown, on which scale, with which ticks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .figures import nearest

_LEFT, _RIGHT = 3.0, 95.0
_LOG_FROM_RATIO = 8.0
_MOST_TICKS = 6
# No axis reaches beyond these: ticks and ratios would leave the range of a float. Values beyond are drawn at its ends.
_SMALLEST, _LARGEST = 1e-30, 1e30


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A horizontal axis from ``low`` to ``high``; positions are percentages of the plot's width.

    ``log`` axes begin above 0; a value at or below ``low`` is drawn at the left end.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[float, ...]

    def position(self, value: float) -> float:
        """Percentage of the plot's width, kept inside the axis; infinity is the right end."""
        if value >= self.high:
            return _RIGHT
        if value <= self.low:
            return _LEFT
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(_LEFT + share * (_RIGHT - _LEFT), 3)

    def share(self, value: float) -> float:
        """Where ``value`` is between the ends of the axis, from 0 to 1."""
        return (self.position(value) - _LEFT) / (_RIGHT - _LEFT)

    @property
    def ends(self) -> tuple[float, float]:
        """Positions of both ends."""
        return _LEFT, _RIGHT


def axis_from_zero(values: Iterable[float]) -> Axis:
    """An axis that shows every finite value: linear from 0, or logarithmic where they differ by more than 8 times."""
    shown = [_within(value) for value in values if math.isfinite(value) and value > 0] or [1.0]
    low, high = min(shown), max(shown)
    if high / low > _LOG_FROM_RATIO:
        low, high = low / 1.6, high * 1.6
        return Axis(low=low, high=high, log=True, ticks=_log_ticks(low, high))
    high *= 1.15
    return Axis(low=0.0, high=high, log=False, ticks=linear_ticks(0.0, high))


def axis_around(values: Iterable[float]) -> Axis:
    """A linear axis with some room on both sides of ``values``; it need not begin at 0."""
    shown = [max(-_LARGEST, min(value, _LARGEST)) for value in values if math.isfinite(value)] or [0.0]
    # Never lost in the rounding of very large values.
    room = max((max(shown) - min(shown)) * 0.15, 1.0, 1e-9 * max(map(abs, shown)))
    low, high = min(shown) - room, max(shown) + room
    return Axis(low=low, high=high, log=False, ticks=linear_ticks(low, high))


def height_from_zero(values: Iterable[float]) -> float:
    """The top of a vertical axis from 0 that shows every finite value."""
    largest = max((value for value in values if math.isfinite(value)), default=0.0)
    return _within(largest) * 1.1 if largest > 0 else 1.0


def _within(value: float) -> float:
    return max(_SMALLEST, min(value, _LARGEST))


def linear_ticks(low: float, high: float, most: int = _MOST_TICKS) -> tuple[float, ...]:
    """Round values from ``low`` to ``high``, at most ``most`` of them."""
    span = high - low
    if not (span > 0 and math.isfinite(span)):
        return (low,)
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(unit * m for m in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0) if span / (unit * m) <= most - 1)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(float(nearest(count * step)) for count in range(first, last + 1))


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    """1, 2, 5 in every decade, or powers of ten only where those are too many."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**decade for decade in decades for m in (1, 2, 5) if low <= m * 10.0**decade <= high]
    if len(fine) <= _MOST_TICKS:
        return tuple(fine)
    coarse = [10.0**decade for decade in decades if low <= 10.0**decade <= high]
    return tuple(coarse[:: 1 + (len(coarse) - 1) // _MOST_TICKS])
