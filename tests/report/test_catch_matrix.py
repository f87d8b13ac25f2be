"""The catch matrix: counts by class and layer, what is wrong is said, and a damaged file names its place."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpaudit.cli import main
from dpaudit.contract import AuditReport, DataError
from dpaudit.report import catch_matrix, matrix_text, read_specimens, to_index_html


def row(path: str, verdict: str, *, sound: bool = False, as_it_must: bool = True, **outcomes: str) -> dict[str, Any]:
    """As ``tests.corpus.run`` writes it."""
    return {
        "path": path,
        "sound": sound,
        "verdict": verdict,
        "as_it_must": as_it_must,
        "refuting": [],
        "rules": [],
        "layers": {layer: {"outcome": outcome, "seconds": 0.5} for layer, outcome in outcomes.items()},
        "epsilon": [None, None],
        "epsilon_true": None,
        "seconds": 1.0,
    }


ROWS = [
    row("c01_twice/blatant.py", "REJECTED", static="passed", properties="violated", replay="violated"),
    row("c01_twice/subtle.py", "REJECTED", static="inconclusive", properties="passed", replay="violated"),
    row("c01_twice/clean.py", "ACCEPTED", sound=True, static="passed", properties="passed", replay="passed"),
    row("c02_late/blatant.py", "ACCEPTED", as_it_must=False, static="passed", properties="passed", replay="passed"),
    row("c02_late/subtle.py", "INCONCLUSIVE", static="inconclusive", properties="errored", replay="passed"),
]


def test_counts_by_class_and_layer() -> None:
    matrix = catch_matrix(read_specimens(json.dumps(ROWS), "rows.json"))
    first, second = matrix.rows
    assert (first.group, first.wrong, second.group, second.wrong) == ("c01 twice", 0, "c02 late", 1)
    assert [cell.words for cell in first.layers] == ["0/2 +1 held", "1/2", "-", "2/2"]
    assert [cell.tone for cell in first.layers] == ["escaped", "escaped", "absent", "all"]
    assert (first.verdict.words, first.verdict.tone) == ("2/2", "all")
    assert (second.verdict.words, second.verdict.tone) == ("0/2 +1 held", "escaped")
    assert matrix.wrong == ("c02_late/blatant.py",)
    assert matrix.words == (
        "4 broken specimens: 1 ACCEPTED, 2 REJECTED, 1 INCONCLUSIVE. 1 sound ones: 1 ACCEPTED, 0 REJECTED, 0 INCONCLUSIVE."
    )
    assert "not as it must be: c02_late/blatant.py" in matrix_text(matrix)


def test_the_index_shows_it_and_does_without_it(accepted_report: AuditReport) -> None:
    matrix = catch_matrix(read_specimens(json.dumps(ROWS), "rows.json"))
    html = to_index_html([accepted_report], ["a.html"], matrix=matrix)
    assert "What the layers catch" in html
    assert "Not judged as they must be: c02_late/blatant.py" in html
    assert '<td class="num escaped wrong">0/2 +1 held</td>' in html
    assert "What the layers catch" not in to_index_html([accepted_report], ["a.html"])


def test_the_report_command_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "catch-matrix"
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(ROWS[:3]))
    (folder / "more.json").write_text(json.dumps(ROWS[3:]))
    assert main(["report", str(folder), "--out", str(tmp_path / "pages")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].split() == ["c01", "twice", "0/2", "+1", "held", "1/2", "-", "2/2", "2/2"]
    assert "What the layers catch" in (tmp_path / "pages" / "index.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON of a catch matrix"),
        ("{}", "rows.json: expected a list"),
        ('["a"]', r"rows.json\[0\]: expected a row"),
        ('[{"path": "a"}]', r"rows.json\[0\]: expected a key 'sound'"),
        (json.dumps([ROWS[0] | {"verdict": "FINE"}]), r"rows.json\[0\].verdict: expected one of"),
        (json.dumps([ROWS[0] | {"layers": {"guess": {"outcome": "passed"}}}]), r"layers: expected one of"),
    ],
)
def test_a_damaged_file_names_its_place(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_specimens(text, "rows.json")
