"""Scores from files: what is read, and what is refused."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from dpaudit.commands.bound import run
from dpaudit.contract import DataError, ExitCode, UsageError
from dpaudit.empirical import read_csv, read_csv_pair, read_npz


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_npz_and_csv_agree(tmp_path: Path) -> None:
    score, member = np.array([0.5, 1.5, -1.0]), np.array([0, 1, 1])
    np.savez(tmp_path / "s.npz", score=score, member=member, id=np.array(["a", "b", "c"]))
    write(tmp_path / "s.csv", "id,score,member\na,0.5,0\nb,1.5,1\nc,-1.0,in\n")
    write(tmp_path / "in.csv", "id,score\nb,1.5\nc,-1\n")
    write(tmp_path / "out.csv", "score\n0.5\n")
    for scores in (
        read_npz(tmp_path / "s.npz"),
        read_csv(tmp_path / "s.csv"),
        read_csv_pair(tmp_path / "in.csv", tmp_path / "out.csv"),
    ):
        assert scores.inside.tolist() == [1.5, -1.0]
        assert scores.outside.tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,score,member\na,1,1\na,2,0\n", "occurs twice"),
        ("score,member\nnan,1\n1,0\n", "line 2: expected a finite score"),
        ("score,member\n,1\n1,0\n", "line 2: expected a finite score"),
        ("score,member\n1,maybe\n", "line 2: expected member"),
        ("score\n1\n", "expected a header"),
        ("score,member\n1,1\n", "at least one score that is 'out'"),
        ("id,score,member\na,1\n", "line 2: expected 3 fields"),
        ("id,score,member\n,1,1\n", "the id is empty"),
    ],
)
def test_csv_faults(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(write(tmp_path / "s.csv", text))


def test_an_id_on_both_sides_is_refused(tmp_path: Path) -> None:
    inside, outside = write(tmp_path / "i.csv", "id,score\na,1\n"), write(tmp_path / "o.csv", "id,score\na,2\n")
    with pytest.raises(DataError, match="'a' occurs twice"):
        read_csv_pair(inside, outside)
    with pytest.raises(UsageError, match="two different files"):
        read_csv_pair(inside, inside)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"score": np.array([1.0, np.nan]), "member": np.array([1, 0])}, "expected a finite number"),
        ({"score": np.array([1.0, 2.0]), "member": np.array([1, 2])}, "0 or 1"),
        ({"score": np.array([1.0, 2.0]), "member": np.array([1])}, "one length"),
        ({"score": np.array([1.0, 2.0])}, "expected the arrays score and member"),
        ({"score": np.array(["x", "y"]), "member": np.array([1, 0])}, "expected numbers"),
    ],
)
def test_npz_faults(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_npz(tmp_path / "s.npz")


def test_files_that_are_absent_or_no_archive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_npz(tmp_path / "absent.npz")
    with pytest.raises(DataError, match=r"expected an \.npz file") as raised:
        read_npz(write(tmp_path / "s.npz", "not an archive"))
    assert "pickle" not in str(raised.value)  # nobody is told to load what may run code
    np.savez(tmp_path / "objects.npz", score=np.array([1.0, None], dtype=object), member=np.array([1, 0]))
    with pytest.raises(DataError, match="arrays of numbers"):
        read_npz(tmp_path / "objects.npz")
    with pytest.raises(DataError, match=r"expected an \.npz file"):
        read_npz(write(tmp_path / "empty.npz", ""))


def test_one_score_on_a_side_leaves_out_the_test_that_needs_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside, outside = write(tmp_path / "in.csv", "score\n1.0\n"), write(tmp_path / "out.csv", "score\n0.0\n0.5\n")
    assert run(arguments(inside=inside, outside=outside, method="all")) is ExitCode.ALL_ACCEPTED
    methods = {bound["method"] for bound in json.loads(capsys.readouterr().out)["bounds"]}
    assert "clopper_pearson" in methods
    assert "sequential" not in methods
    with pytest.raises(UsageError, match="at least 2 scores"):
        run(arguments(inside=inside, outside=outside, method="sequential"))


def arguments(**changes: object) -> argparse.Namespace:
    values: dict[str, object] = dict.fromkeys(
        ("scores", "inside", "outside", "design", "confidence", "method", "q", "sigma", "steps")
    )
    return argparse.Namespace(**{**values, "delta": 1e-5, "format": "json", **changes})


def test_the_command_prints_every_bound_with_its_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(0)
    score = np.concatenate([generator.normal(3, 1, 300), generator.normal(0, 1, 300)])
    np.savez(tmp_path / "s.npz", score=score, member=np.repeat([1, 0], 300))
    code = run(arguments(scores=tmp_path / "s.npz", q=0.1, sigma=1.0, steps=10, design="one_run"))
    record = json.loads(capsys.readouterr().out)
    assert code is ExitCode.ALL_ACCEPTED
    by_name = {bound["method"]: bound for bound in record["bounds"]}
    assert set(by_name) >= {"clopper_pearson", "gdp", "steinke", "one_run_fdp", "accountant_family"}
    assert by_name["gdp"]["valid"] is False
    assert by_name["steinke"]["valid"] is True
    assert by_name["accountant_family"]["noise_deficit"] < 1
    for bound in record["bounds"]:
        assert {"method", "epsilon", "ceiling", "design", "family", "valid", "noise_deficit"} <= set(bound)
    assert run(arguments(scores=tmp_path / "s.npz", method="gdp", format="text", threshold="split")) == 0
    assert "gdp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "either --scores"),
        ({"inside": "a.csv"}, "go together"),
        ({"scores": "s.npz", "q": 0.1}, "all of --q"),
        ({"scores": "s.npz", "confidence": 95.0}, "--confidence"),
        ({"scores": "s.npz", "threshold": "best"}, "--threshold"),
        ({"scores": "s.npz", "per_step": True}, "--per-step"),
    ],
)
def test_usage_errors_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("s.npz", score=np.arange(20.0), member=np.repeat([1, 0], 10))
    with pytest.raises(UsageError, match=message):
        run(arguments(**changes))
