"""A receiver operating characteristic as inline SVG: the attack's points and band against the claimed curve.

Both axes run from 0 to 1. Widths are percentages, so that the plot fits a phone; curves live in a nested picture of
1000 by 1000 that is stretched to its place.
"""

from collections.abc import Sequence

from dpaudit.contract import RocRecord

from .figures import nearest
from .svg_marks import element, label, line, picture

_TOP, _HEIGHT = 12, 300
_LEFT, _WIDTH = 11.0, 85.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def roc_plot(name: str, title: str, description: str, roc: RocRecord) -> str:
    """The curve with its band, the diagonal of guessing, and the largest rates that the claim allows."""
    band = [*zip(roc.fpr, roc.upper, strict=True), *reversed(list(zip(roc.fpr, roc.lower, strict=True)))]
    shapes = [
        element("polygon", points=_points(band), class_="band attack"),
        _curve([(0.0, 0.0), (1.0, 1.0)], "curve guess"),
        _curve(list(roc.claimed), "curve reported"),
        _curve(list(zip(roc.fpr, roc.tpr, strict=True)), "curve attack"),
    ]
    drawing = element(
        "svg",
        "".join(shapes),
        x=f"{_LEFT}%",
        y=_TOP,
        width=f"{_WIDTH}%",
        height=_HEIGHT,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        overflow="visible",
    )
    return picture(name, title, description, _TOP + _HEIGHT + 44, _grid() + drawing)


def _grid() -> str:
    bottom = _TOP + _HEIGHT
    marks = []
    for tick in _TICKS:
        y, x = bottom - _HEIGHT * tick, _LEFT + _WIDTH * tick
        marks.append(line(_LEFT, _LEFT + _WIDTH, y, y, "grid" if tick else "axis"))
        marks.append(label(nearest(tick), _LEFT - 1.5, y + 4, anchor="end", class_="label soft"))
        marks.append(label(nearest(tick), x, bottom + 17, anchor="middle", class_="label soft"))
    marks.append(
        label(
            "false positive rate (true positive rate upwards)",
            _LEFT + _WIDTH / 2,
            bottom + 36,
            anchor="middle",
            class_="label soft",
        )
    )
    return "".join(marks)


def _curve(points: Sequence[tuple[float, float]], class_: str) -> str:
    return element("polyline", points=_points(points), fill="none", vector_effect="non-scaling-stroke", class_=class_)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{1000 * x:.5g},{1000 * (1 - y):.5g}" for x, y in points)
