"""Accuracy against epsilon: who is on the front, and that no rejected mechanism is."""

import dataclasses

from dpaudit.contract import AuditReport, Verdict
from dpaudit.report import to_index_html
from dpaudit.report.accuracy_plot import Point, pareto_front


def point(name: str, epsilon: float, accuracy: float, verdict: Verdict = Verdict.ACCEPTED) -> Point:
    return Point(name=name, epsilon=epsilon, accuracy=accuracy, printed="", verdict=verdict)


def test_the_front_is_what_no_accepted_mechanism_beats() -> None:
    points = [
        point("dear", 3.0, 95.0),
        point("beaten", 2.9, 93.0),
        point("cheap", 1.0, 90.0),
        point("same price, worse", 1.0, 89.0),
        point("middle", 2.0, 94.0),
        point("rejected", 0.5, 99.0, Verdict.REJECTED),
        point("unknown", 0.5, 99.0, Verdict.INCONCLUSIVE),
    ]
    assert [p.name for p in pareto_front(points)] == ["cheap", "middle", "dear"]
    assert pareto_front([]) == ()


def test_the_index_plots_two_mechanisms_and_not_one(accepted_report: AuditReport) -> None:
    worse = dataclasses.replace(accepted_report, mechanism="other.py")
    both = to_index_html([accepted_report, worse], ["a.html", "b.html"])
    alone = to_index_html([accepted_report], ["a.html"])
    assert "Accuracy against epsilon" in both
    assert "other.py: epsilon at most" in both
    assert "Accuracy against epsilon" not in alone
