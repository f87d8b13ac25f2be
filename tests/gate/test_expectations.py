"""Expectation files: what is read, and that every malformed one is named."""

from pathlib import Path

import pytest

from dpaudit.contract import DataError, Finding, Severity, Strength, UsageError, Verdict
from dpaudit.gate import Expectation, plan_layers, read_expectations

FOUND = Finding(rule="DPA202", severity=Severity.CRITICAL, strength=Strength.PROOF, message="", file="m.py")


def write(folder: Path, text: str) -> Path:
    path = folder / "expected.toml"
    path.write_text(text)
    return path


def test_a_preset_overrides_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '["a/m.py"]\nverdict = "REJECTED"\nrules = ["DPA202"]\npreset.mnist = { verdict = ["ACCEPTED"], rules = [] }\n',
    )
    key = (tmp_path / "a" / "m.py").resolve()
    assert read_expectations(path, "digits")[key] == Expectation(verdicts=(Verdict.REJECTED,), rules=("DPA202",))
    assert read_expectations(path, "mnist")[key] == Expectation(verdicts=(Verdict.ACCEPTED,), rules=())


def test_surprises_name_verdict_and_cause() -> None:
    expectation = Expectation(verdicts=(Verdict.REJECTED,), rules=("DPA203",))
    assert expectation.surprises(Verdict.ACCEPTED, (FOUND,)) == (
        "expected REJECTED, got ACCEPTED",
        "expected a finding of DPA203, there is none",
    )
    assert Expectation(verdicts=(Verdict.REJECTED,), rules=("DPA202",)).surprises(Verdict.REJECTED, (FOUND,)) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not toml", "expected TOML"),
        ('"m.py" = 3', "expected a table"),
        ('["m.py"]\nverdict = "FINE"', "expected words among"),
        ('["m.py"]\nverdicts = "REJECTED"', "did you mean 'verdict'"),
        ('["m.py"]\nrules = ["DPA202"]', "expected words among"),
        ('["m.py"]\nzzz = "REJECTED"', "unknown key 'zzz'; known: verdict, rules, preset$"),
        ('["m.py"]\nverdict = []', "at least one"),
        ('["m.py"]\nverdict = "REJECTED"\nrules = ["DPA999"]', "rules"),
        ('["m.py"]\nverdict = "REJECTED"\npreset.mnist = 3', "preset"),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_expectations(write(tmp_path, text), "digits")


def test_an_absent_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_expectations(tmp_path / "none.toml", "digits")


def test_layers_are_named_or_refused() -> None:
    assert plan_layers("replay,replay") == plan_layers("replay")
    with pytest.raises(UsageError, match="did you mean 'replay'"):
        plan_layers("replya")
    with pytest.raises(UsageError, match="expected names among"):
        plan_layers("")
