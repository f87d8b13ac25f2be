"""The text report: what stands where, and what a hostile candidate cannot do to a terminal."""

import dataclasses
import re

import pytest
from rich.cells import cell_len

from dpaudit.contract import AccuracyRow, AuditReport, Verdict
from dpaudit.report import to_text
from dpaudit.report.text import short_names

HOSTILE = "<b>[red]\x1b]0;owned\x07\x1b[2J\u202e" + "W" * 300 + " 日本語 é \ud800"


def row_of(text: str, mechanism: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(mechanism))


def test_one_line_a_mechanism_with_its_numbers(samples: tuple[AuditReport, ...]) -> None:
    text = to_text(samples)
    assert re.search(
        r"^standard_dpsgd +REJECTED +yes +3 +3\.0016 +\[\?, 83\.1\] +MNIST 96\.20±0\.11 \(3\)$", text, re.MULTILINE
    )
    assert re.search(r"^automatic_clipping +INCONCLUSIVE +NO +3 +2\.9991 +\[2\.9979, \?\]", text, re.MULTILINE)
    assert re.search(r"^adaptive_clipping +REJECTED +yes +3 +2\.9991 +\[\?, \?\]", text, re.MULTILINE)
    assert re.search(r"^flat_dpsgd +ACCEPTED +- +3 +2\.999 +\[2\.99, 2\.999\]", text, re.MULTILINE)
    assert "1 ACCEPTED, 3 REJECTED, 1 INCONCLUSIVE." in text


def test_no_column_for_expectations_that_were_not_given(accepted_report: AuditReport) -> None:
    assert "expected" not in to_text([accepted_report]).splitlines()[0]


def test_details_of_a_rejection(rejected_report: AuditReport) -> None:
    lines = " ".join(to_text([rejected_report]).split())
    for part in (
        "= as expected (REJECTED)",
        "- The reported schedule costs at least 86.1",
        "Multiply the noise by 2.73",
        "epsilon of the reported schedule under valid accounting [86.1, 86.3]",
        "* DPA401 critical/proof mechanisms/rejected/standard_dpsgd.py The claim of 3.0016",
        "rerun: dpaudit check mechanisms/rejected/standard_dpsgd.py --rule DPA401 --seed 7",
        "layers that did not run: ",
        "This audit could not have detected: - The training run was not repeated",
        "This audit assumes: - The harness zeroes a row",
        "again: dpaudit audit mechanisms/standard_dpsgd.py",
    ):
        assert part in lines


def test_finding_names_file_and_line(data_dependent_report: AuditReport) -> None:
    assert "* DPA202 critical/proof mechanisms/rejected/adaptive_clipping.py:31 Noise at step 1" in to_text(
        [data_dependent_report]
    )


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_lines_fit_except_commands(samples: tuple[AuditReport, ...], width: int) -> None:
    hostile = dataclasses.replace(samples[0], mechanism=HOSTILE, reasons=(HOSTILE,), blind_spots=(HOSTILE,))
    for line in to_text([*samples, hostile], width=width).splitlines():
        assert cell_len(line) <= width or "dpaudit " in line


def test_long_commands_stay_on_one_line(accepted_report: AuditReport) -> None:
    command = "dpaudit audit " + "a/very/long/path " * 30 + "--end"
    assert any(
        line.endswith("--end") and "dpaudit audit" in line
        for line in to_text([dataclasses.replace(accepted_report, command=command)]).splitlines()
    )


def test_colour_only_when_asked(samples: tuple[AuditReport, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = to_text(samples)
    for name, value in (("FORCE_COLOR", "1"), ("COLUMNS", "40"), ("TERM", "dumb"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    assert to_text(samples) == plain
    assert "\x1b[" not in plain
    assert "\x1b[31mREJECTED" in to_text(samples, colour=True)


def test_ascii_only(samples: tuple[AuditReport, ...]) -> None:
    odd = dataclasses.replace(samples[0], mechanism="naïve_日本")
    text = to_text([*samples, odd], ascii_only=True)
    assert text.isascii()
    assert "96.20+/-0.11" in text
    assert "na\\xefve" in text


def test_candidate_text_cannot_reach_the_terminal(accepted_report: AuditReport) -> None:
    report = dataclasses.replace(
        accepted_report,
        mechanism=HOSTILE,
        reasons=(HOSTILE,),
        command=HOSTILE,
        accuracy=(AccuracyRow(dataset=HOSTILE, mean=1.0, std=None, runs=1),),
    )
    text = to_text([report], colour=False)
    text.encode("utf-8")
    assert not set(text) & {"\x1b", "\x07", "\u202e", "\r"}
    assert "[red]" in text


def test_broken_and_unexpected_are_marked(accepted_report: AuditReport) -> None:
    errored = dataclasses.replace(accepted_report.layers[0], outcome=type(accepted_report.layers[0].outcome)("errored"))
    report = dataclasses.replace(accepted_report, layers=(errored,), expected=(Verdict.REJECTED,))
    text = to_text([report])
    assert "ACCEPTED BROKEN" in text
    assert "! dpaudit itself failed" in text
    assert "! UNEXPECTED: REJECTED was expected" in text
    assert "1 of them BROKEN" in text


def test_nothing_audited() -> None:
    assert to_text([]) == "Nothing was audited.\n"


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("a/b/m.py",), ("m.py",)),
        (("a/b/m.py", "a/c/n.py"), ("b/m.py", "c/n.py")),
        (("m.py", "a/m.py"), ("m.py", "a/m.py")),
        (("a/m.py", "a/m.py::Other"), ("m.py", "m.py::Other")),
    ],
)
def test_folders_that_all_share_are_left_out(
    accepted_report: AuditReport, paths: tuple[str, ...], names: tuple[str, ...]
) -> None:
    reports = [dataclasses.replace(accepted_report, mechanism=path) for path in paths]
    assert short_names(reports) == names
