"""A frame with two axes for curves: ticks around it, and a stretched picture of 1000 by 1000 inside.

Widths are percentages and heights pixels, so that a plot fits a phone and a desk alike.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .svg_marks import element, label, line

Tick = tuple[float, str]
"""Share of the axis from 0 to 1, and its text."""

_LEFT, _WIDTH = 12.0, 84.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a plot's curves are. Shares run from 0 (left, bottom) to 1 (right, top)."""

    top: int
    height: int

    @property
    def bottom(self) -> int:
        """Pixels from the top of the plot to the horizontal axis."""
        return self.top + self.height

    def x(self, share: float) -> float:
        """Percent of the plot's width."""
        return round(_LEFT + _WIDTH * share, 3)

    def y(self, share: float) -> float:
        """Pixels from the top."""
        return round(self.bottom - self.height * share, 1)

    def grid(self, across: Iterable[Tick], up: Iterable[Tick], words: str) -> str:
        """Ticks on both axes, faint lines at those of the vertical one, and words under the horizontal one."""
        marks = []
        for share, text in up:
            marks.append(line(self.x(0), self.x(1), self.y(share), self.y(share), "grid" if share else "axis"))
            marks.append(label(text, _LEFT - 1.5, self.y(share) + 4, anchor="end", class_="label soft"))
        for share, text in across:
            anchor = "end" if share > 0.95 else "middle"
            marks.append(label(text, self.x(share), self.bottom + 17, anchor=anchor, class_="label soft"))
        marks.append(line(self.x(0), self.x(1), self.bottom, self.bottom, "axis"))
        marks.append(label(words, self.x(0.5), self.bottom + 36, anchor="middle", class_="label soft"))
        return "".join(marks)

    def curves(self, shapes: Sequence[str]) -> str:
        """Shapes in coordinates of 1000 by 1000, stretched into the frame."""
        return element(
            "svg",
            "".join(shapes),
            x=f"{_LEFT}%",
            y=self.top,
            width=f"{_WIDTH}%",
            height=self.height,
            viewBox="0 0 1000 1000",
            preserveAspectRatio="none",
            overflow="visible",
        )


def curve(points: Iterable[tuple[float, float]], class_: str) -> str:
    """A line through shares of both axes."""
    return element("polyline", points=_points(points), fill="none", vector_effect="non-scaling-stroke", class_=class_)


def area(points: Iterable[tuple[float, float]], class_: str) -> str:
    """A filled area between shares of both axes."""
    return element("polygon", points=_points(points), class_=class_)


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{1000 * x:.5g},{1000 * (1 - y):.5g}" for x, y in points)
