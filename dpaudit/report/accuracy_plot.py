"""Accuracy against epsilon for the mechanisms that answer one question on one data set, with the Pareto front.

Epsilon is what was proved: the upper end for ACCEPTED, else the lower end, marked as open to the right. The front runs over
ACCEPTED mechanisms alone: accuracy that was bought outside the budget is no merit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from dpaudit.contract import Verdict

from .figures import accuracy_text, lower_end, nearest, upper_end
from .plot import Plot
from .ranking import Comparison, Entry
from .svg_axis import axis_around, axis_from_zero
from .svg_marks import label, line, picture, sign
from .untrusted import one_line

_TOP, _HEIGHT = 24, 220
_BOTTOM = _TOP + _HEIGHT
_DIAMOND = "M0 -6 L6 0 L0 6 L-6 0 Z"
_CROSS = "M-5 -5 L5 5 M5 -5 L-5 5"
_RING = "M0 -5 A5 5 0 1 0 0.01 -5 Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One mechanism: what it is known to spend, and its mean accuracy in percent."""

    name: str
    epsilon: float
    accuracy: float
    printed: str
    verdict: Verdict


def accuracy_plot(comparison: Comparison, name: str) -> Plot | None:
    """The plot, or ``None`` where fewer than two mechanisms have both an accuracy and a proved end of epsilon."""
    points = [
        point
        for entries in (comparison.accepted, comparison.inconclusive, comparison.rejected)
        for entry in entries
        if (point := _point(entry)) is not None
    ]
    if len(points) < 2:
        return None
    title = f"Accuracy against epsilon at delta {nearest(comparison.delta)}"
    words = " ".join(f"{number} {point.name}: {point.printed}." for number, point in enumerate(points, 1))
    return Plot(
        svg=_svg(name, title, words, points, comparison.target),
        title=title,
        words=(
            "Diamond: ACCEPTED, at the proved upper end. Cross: REJECTED, ring: INCONCLUSIVE, each at the proved lower end (it "
            "may spend more). The line is the front of ACCEPTED "
            "mechanisms: no other is better in both. " + words
        ),
    )


def pareto_front(points: Sequence[Point]) -> tuple[Point, ...]:
    """ACCEPTED points that no other one beats in both epsilon and accuracy, by rising epsilon."""
    front: list[Point] = []
    accepted = [point for point in points if point.verdict is Verdict.ACCEPTED]
    for point in sorted(accepted, key=lambda p: (p.epsilon, -p.accuracy)):
        if not front or point.accuracy > front[-1].accuracy:
            front.append(point)
    return tuple(front)


def _point(entry: Entry) -> Point | None:
    report, row = entry.report, entry.accuracy
    accepted = report.verdict is Verdict.ACCEPTED
    ends = report.epsilon.replayed
    epsilon = ends.upper if accepted else ends.lower
    if row is None or epsilon is None or not epsilon < float("inf"):
        return None
    shown = f"at most {upper_end(epsilon)}" if accepted else f"at least {lower_end(epsilon)}"
    return Point(
        name=one_line(report.mechanism, limit=40),
        epsilon=epsilon,
        accuracy=row.mean,
        printed=f"epsilon {shown}, {accuracy_text(row)} %",
        verdict=report.verdict,
    )


def _svg(name: str, title: str, words: str, points: Sequence[Point], target: float) -> str:
    across = axis_from_zero([*(point.epsilon for point in points), target])
    up = axis_around([point.accuracy for point in points])

    def height(value: float) -> float:
        return round(_BOTTOM - _HEIGHT * (value - up.low) / (up.high - up.low), 1)

    left, right = across.ends
    marks = [line(left, right, _BOTTOM, _BOTTOM, "axis")]
    for tick in across.ticks:
        marks.append(label(nearest(tick), across.position(tick), _BOTTOM + 16, anchor="middle", class_="label soft"))
    for tick in up.ticks:
        marks.append(line(left, right, height(tick), height(tick), "grid"))
        marks.append(label(f"{nearest(tick)} %", right, height(tick) - 3, anchor="end", class_="label soft"))
    at = across.position(target)
    marks.append(line(at, at, _TOP - 6, _BOTTOM, "target"))
    marks.append(
        label(f"target {nearest(target)}", at, _TOP - 10, anchor="start" if at < 50 else "end", class_="label strong")
    )
    front = pareto_front(points)
    for first, second in pairwise(front):
        here, there = across.position(first.epsilon), across.position(second.epsilon)
        marks.append(line(here, there, height(first.accuracy), height(second.accuracy), "front"))
    for number, point in enumerate(points, 1):
        where, level = across.position(point.epsilon), height(point.accuracy)
        shape, style = {
            Verdict.ACCEPTED: (_DIAMOND, "point valid"),
            Verdict.REJECTED: (_CROSS, "cap attack"),
            Verdict.INCONCLUSIVE: (_RING, "ring reported"),
        }[point.verdict]
        marks.append(sign(shape, where, level, style))
        marks.append(label(str(number), where + 1.2, level - 6, class_="label strong"))
    words_across = "epsilon" + (", log scale" if across.log else "")
    marks.append(label(words_across, (left + right) / 2, _BOTTOM + 36, anchor="middle", class_="label soft"))
    return picture(name, title, words, _BOTTOM + 44, "".join(marks))
