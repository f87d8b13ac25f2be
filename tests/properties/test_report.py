"""What comes back from the process that runs the candidate is checked."""

import math

import pytest

from dpaudit.contract import Severity, Strength
from dpaudit.probe.messages import InvalidMessage
from dpaudit.probe.problem import Problem
from dpaudit.properties.report import Report, decode_report, encode_report

REPORT = Report(
    problems=(Problem("DPA201", Severity.MAJOR, Strength.PROOF, "too much", 3, {"sigma": 0.5}),),
    worst=math.inf,
    worst_reported=1.0,
    worst_pair="a pair",
    demonstrated=((0, 0.5), (1, math.inf)),
    beside_others=((1, 0.25),),
    incomplete=("something",),
    tried=7,
    notes=("a note",),
)


def test_round_trip() -> None:
    assert decode_report(encode_report(REPORT), 2) == REPORT


@pytest.mark.parametrize(
    "change",
    [
        {"worst": -1.0},
        {"worst": float("nan")},
        {"worst": "0.5"},
        {"worst_pair": 3},
        {"worst_pair": "x" * 3000},
        {"demonstrated": [[0, 0.5], [0, 0.5]]},
        {"demonstrated": [[2, 0.5]]},
        {"demonstrated": [[True, 0.5]]},
        {"demonstrated": [[0, float("nan")]]},
        {"demonstrated": [[0]]},
        {"beside_others": [[0, -1.0]]},
        {"beside_others": None},
        {"tried": -1},
        {"tried": 1.5},
        {"incomplete": None},
        {"problems": [{"rule": "DPA999"}]},
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidMessage):
        decode_report({**encode_report(REPORT), **change}, 2)


def test_no_report_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        decode_report([], 2)
