"""Spend over the steps and attacks beside the trade-off curve: at the right place, in words too, and only where there is data."""

import dataclasses
import re

import pytest

from dpaudit.contract import AuditReport, CurvesRecord, DataError
from dpaudit.report import from_json, to_html, to_json
from dpaudit.report.report_plots import plots_of


def plot(report: AuditReport, name: str) -> str:
    return next(plot.svg for plot in plots_of(report) if f'id="{name}-title"' in plot.svg)


def points(svg: str, class_: str) -> list[tuple[float, float]]:
    (found,) = re.findall(rf'points="([^"]*)"[^>]*class="{class_}"', svg)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found.split())]


def test_spend_ends_at_what_the_whole_run_costs(accepted_report: AuditReport) -> None:
    svg = plot(accepted_report, "plot-spend")
    upper, lower = points(svg, "curve proved"), points(svg, "curve measured")
    assert [x for x, _ in upper] == sorted(x for x, _ in upper)
    assert upper[-1][0] == lower[-1][0] == 1000
    assert upper[-1][1] < lower[-1][1]  # the upper end stands above the lower one
    assert "After 1170 steps: reported 3.125, at least 3, at most 3.0625." in svg


def test_an_attack_stands_where_its_errors_are(accepted_report: AuditReport) -> None:
    svg = plot(accepted_report, "plot-attack-0")
    assert points(svg, "curve reported")[1] == (250, 800)
    assert svg.count('class="point attack"') == 1
    assert svg.count('class="limit attack"') == 2
    assert "false positive rate 0.31, false negative rate 0.28; together at most 0.36 and 0.33 at level 5e-07" in svg
    other = plot(accepted_report, "plot-attack-1")
    assert other.count('class="point attack"') == 2
    assert "no limits, the runs were ended by what they showed" in other


def test_without_curves_there_is_no_picture_and_no_key(accepted_report: AuditReport) -> None:
    bare = dataclasses.replace(accepted_report, curves=CurvesRecord())
    assert '"curves"' not in to_json([bare])
    html = to_html(bare)
    assert "plot-spend" not in html
    assert "plot-attack" not in html
    assert from_json(to_json([bare])) == (bare,)


def test_a_spend_that_is_proved_nowhere_is_drawn_as_nothing(accepted_report: AuditReport) -> None:
    rows = tuple(
        dataclasses.replace(row, lower=None, upper=None, reported=None) for row in accepted_report.curves.spend
    )
    svg = plot(dataclasses.replace(accepted_report, curves=CurvesRecord(spend=rows)), "plot-spend")
    assert "polyline" not in svg
    assert "at least not proved, at most not proved" in svg


def test_a_rate_beyond_one_is_refused(accepted_report: AuditReport) -> None:
    text = to_json([accepted_report]).replace("0.31", "1.31")
    with pytest.raises(DataError, match="two rates from 0 to 1"):
        from_json(text)
