"""How commands end when something goes wrong: one clear error and the documented exit code, never Python's own."""

import argparse
import shlex
import shutil
from pathlib import Path

import pytest

from dpaudit import cli
from dpaudit.commands import subjects
from dpaudit.contract import ExitCode, NonFinite, Relation, UsageError

SAMPLE = Path(__file__).resolve().parents[2] / "reports" / "mnist" / "report.json"


def test_a_defect_of_dpaudit_never_ends_with_the_code_of_a_rejection(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(arguments: argparse.Namespace) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr(cli, "apply_configuration", broken)
    assert cli.main(["rules"]) == ExitCode.BROKEN
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("dpaudit: the audit broke: AttributeError: no such thing; this is a defect")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with everything that a command may be given by mistake."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "taken").write_text("a file where a folder should be")
    shutil.copy(SAMPLE, tmp_path / "report.json")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gate missing.py", "no such file: 'missing.py'; give a mechanism file"),
        ("gate --opacus missing.py", "no such file: 'missing.py'; give script.py"),
        ("gate --function missing.py:f", "cannot read missing.py"),
        ("gate --ledger folder", "expected a readable folder/ledger.jsonl"),
        ("gate --ledger bytes.json", "bytes.json"),
        ("sweep missing.py --preset digits --grid learning_rate=1 --hold-out 10", "sweep: no such file: 'missing.py'"),
        ("train missing.py --preset digits --out runs", "missing.py: No such file or directory; give a Python file"),
        ("explain missing.py", "missing.py"),
        ("calibrate missing.py --preset digits", "missing.py: no such file"),
        *(
            (f"{command} missing.json", "cannot read missing.json: No such file or directory; give a report.json")
            for command in ("verify", "diff report.json")
        ),
        *(
            (f"{command} folder", "folder/report.json: No such file or directory")
            for command in ("verify", "diff report.json")
        ),
        *(
            (f"{command} bytes.json", "cannot read bytes.json: expected a report.json, got bytes that are not UTF-8")
            for command in ("verify", "diff report.json", "report", "table benchmark")
        ),
        *(
            (f"{command} other.json", "other.json: report: expected a key 'schema'")
            for command in ("verify", "diff report.json", "report", "table benchmark")
        ),
        ("rerun missing.json 1", "rerun: cannot read missing.json"),
        ("rerun other.json 1", "other.json: report: expected a key 'schema'"),
        ("rerun report.json 99", "no finding '99'"),
        ("report folder", "got 'folder', which is none of them"),
        ("report report.json --out taken", "taken"),
        ("rules DPA999", "DPA999"),
        ("attack missing.py --preset digits", "missing.py"),
        ("bound --in missing.csv --out missing.csv --delta 1e-5", "missing.csv"),
    ],
)
def test_a_wrong_input_is_one_clear_error(
    place: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    try:
        code = cli.main(shlex.split(words))
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr().err
    assert code == ExitCode.USAGE, (code, said)
    assert message in said
    assert said.startswith("dpaudit")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said


def test_an_empty_folder_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["gate", "folder", "--accuracy", "none", "--quiet"]) == ExitCode.NOTHING_AUDITED
    assert "no mechanism file (*.py) in folder" in capsys.readouterr().err


def opacus_arguments(**given: str) -> argparse.Namespace:
    nothing: dict[str, object] = dict.fromkeys(
        ("paths", "function", "epsilon", "delta", "epochs", "relation", "nonfinite")
    )
    return argparse.Namespace(**{**nothing, "opacus": ["train.py"], "layers": None, **given})


def test_words_for_an_opacus_run_reach_the_adapter_as_words_of_the_contract(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Reached(Exception):
        pass

    def adapter(spec: str, folder: Path, **words: object) -> None:
        assert words["relation"] is Relation.ZERO_OUT
        assert words["nonfinite"] is NonFinite.RAW
        raise Reached

    monkeypatch.setattr(subjects, "opacus_subject", adapter)
    with pytest.raises(Reached):
        subjects.targets_of(opacus_arguments(relation="zero_out", nonfinite="raw"), tmp_path)
    with pytest.raises(UsageError, match="nonfinite: expected one of guarded, raw, got 'maybe'"):
        subjects.targets_of(opacus_arguments(nonfinite="maybe"), tmp_path)
