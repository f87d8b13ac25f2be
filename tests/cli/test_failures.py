"""How commands end when something goes wrong: one clear error and the documented exit code, never Python's own."""

import argparse
from pathlib import Path

import pytest

from dpaudit import cli
from dpaudit.commands import subjects
from dpaudit.contract import ExitCode, NonFinite, Relation, UsageError


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
