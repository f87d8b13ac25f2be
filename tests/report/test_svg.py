"""The plots: well formed, inside their frame, and exact."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpaudit.contract import AuditReport
from dpaudit.report.report_plots import plots_of
from dpaudit.report.svg_axis import axis_around, axis_from_zero, linear_ticks
from dpaudit.report.svg_plots import Interval, Schedule, interval_plot, step_plot
from dpaudit.report.svg_steps import envelope_path, step_path

POSITIVE = st.floats(min_value=1e-9, max_value=1e9)
EXTREME = st.floats(min_value=0, allow_infinity=True)


def drawn_heights(path: str, steps: int) -> list[float | None]:
    """Height of the pen over the middle of every step: the path drawn the slow way."""
    heights: list[float | None] = [None] * steps
    x, y = 0.0, 0.0
    for letter, body in re.findall(r"([MVH])([^MVH]*)", path):
        numbers = [float(part) for part in body.split()]
        if letter == "M":
            x, y = numbers
        elif letter == "V":
            (y,) = numbers
        else:
            for step in range(int(x), int(numbers[0])):
                heights[step] = y
            (x,) = numbers
    return heights


@given(st.lists(st.none() | st.sampled_from([0.0, 0.5, 0.7, 1.0]) | st.just(math.inf), max_size=40))
def test_step_path_draws_every_step(values: list[float | None]) -> None:
    wanted = [None if v is None or math.isinf(v) else round(1000 * (1 - v / 2), 1) for v in values]
    assert drawn_heights(step_path(values, 2.0), len(values)) == wanted


def test_repeats_cost_nothing() -> None:
    assert step_path([0.5] * 100_000, 1.0) == "M0 500H100000"
    assert len(step_path([0.5] * 600 + [None] * 9 + [0.6] * 600, 1.0)) < 40


def test_long_schedules_keep_their_extremes() -> None:
    values: list[float | None] = [0.5 + 0.001 * (t % 7) for t in range(50_000)]
    values[31_234] = 0.01
    assert step_path(values, 1.0) == ""
    path = envelope_path(values, 1.0)
    assert len(path) < 60_000
    assert "V990V" in path


def test_envelope_leaves_gaps() -> None:
    values: list[float | None] = [0.5] * 5000 + [None] * 5000 + [0.5] * 5000
    assert envelope_path(values, 1.0).count("M") == 2


@given(st.lists(POSITIVE, min_size=1, max_size=6))
def test_axis_shows_every_value_in_order(values: list[float]) -> None:
    axis = axis_from_zero(values)
    positions = [axis.position(value) for value in sorted(values)]
    assert positions == sorted(positions)
    assert all(axis.ends[0] <= position <= axis.ends[1] for position in positions)
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    assert axis.log == (max(values) / min(values) > 8)


@given(st.lists(EXTREME, max_size=4), EXTREME)
def test_extreme_values_stay_in_the_frame(values: list[float], target: float) -> None:
    rows = [Interval(name="a", printed="b", lower=value, upper=None, class_="measured") for value in values]
    for svg in (
        interval_plot("p", "t", "d", rows, target),
        step_plot("p", "t", "d", [Schedule(values=values, class_="curve")], len(values)),
    ):
        ElementTree.fromstring(svg)
        numbers = re.findall(r'(?:x|y|x1|x2|y1|y2)="(-?[0-9.e+]+)%?"', svg)
        assert all(-1 <= float(number) <= 1000 for number in numbers)
        assert not re.search(r"[VHM ](-[1-9]|inf|nan)", "".join(re.findall(r'd="(M[^"]*)" vector', svg)))


@given(
    st.one_of(
        st.lists(st.floats(0, 100), min_size=1, max_size=5), st.lists(st.floats(-1e29, 1e29), min_size=1, max_size=5)
    )
)
def test_axis_around_leaves_room(values: list[float]) -> None:
    axis = axis_around(values)
    assert axis.low < min(values)
    assert axis.high > max(values)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)), (0.0, 1170.0, (0.0, 500.0, 1000.0)), (2.0, 2.0, (2.0,))],
)
def test_ticks(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert linear_ticks(low, high) == ticks


def test_infinite_and_zero_values_have_a_place() -> None:
    axis = axis_from_zero([0.0, 1.0, 100.0, math.inf])
    assert axis.position(0.0) == axis.ends[0]
    assert axis.position(math.inf) == axis.ends[1]


def interval(lower: float | None, upper: float | None) -> str:
    row = Interval(name="row", printed="value", lower=lower, upper=upper, class_="measured")
    return interval_plot("p", "title", "words", [row], 3.0)


def test_interval_ends_are_told_apart_by_shape() -> None:
    assert "bar measured open" in interval(1.0, None)
    assert "bar measured open" in interval(None, 5.0)
    assert 'class="bar measured"' in interval(1.0, 5.0)
    assert 'class="bar open"' in interval(None, None)
    assert 'class="point measured"' in interval(2.0, 2.0)
    assert interval(1.0, None).count("M0 -5 L9 0") == 1
    assert interval(None, 5.0).count("M0 -5 L-9 0") == 1
    assert interval(1.0, math.inf).count("M0 -5 L9 0") == 1


def test_texts_in_a_plot_are_escaped() -> None:
    row = Interval(name="<script>", printed='"&\x1b', lower=1.0, upper=2.0, class_="measured")
    svg = interval_plot("p", "</title><script>", "&", [row], 3.0)
    assert "<script>" not in svg
    assert "\x1b" not in svg
    ElementTree.fromstring(svg)


def test_plots_of_samples_are_well_formed_and_described(samples: tuple[AuditReport, ...]) -> None:
    names = []
    for report in samples:
        for plot in plots_of(report):
            root = ElementTree.fromstring(plot.svg)
            assert root.get("role") == "img"
            labels = (root.get("aria-labelledby") or "").split()
            named = {child.get("id"): child.text for child in root if child.tag in {"title", "desc"}}
            assert all(named[label] for label in labels)
            assert "nan" not in plot.svg.lower().replace("dominant", "")
            names.append(labels[0])
    kinds = ("epsilon", "sigma", "accuracy", "spend", "attack-0", "attack-1")
    assert {f"plot-{kind}-title" for kind in kinds} == set(names)


def test_epsilon_plot_says_every_number(rejected_report: AuditReport) -> None:
    svg = plots_of(rejected_report)[0].svg
    assert "Target 3. Reported: 3.0016. Reported, valid accounting: [86.1, 86.3]. " in svg
    assert "Replayed: what ran: [not proved, 83.1]." in svg
    assert "log scale" in svg


def test_schedule_without_any_number_is_a_plot_without_a_line() -> None:
    svg = step_plot("p", "t", "d", [Schedule(values=[None] * 10, class_="curve")], 10)
    ElementTree.fromstring(svg)
    assert 'd="M0 0"' in svg
