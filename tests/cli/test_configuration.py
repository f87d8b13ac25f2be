"""Defaults from pyproject.toml: found, checked, and weaker than the command line."""

import argparse
from pathlib import Path

import pytest

from dpaudit.configuration import apply_configuration, read_configuration
from dpaudit.contract import DataError, UsageError


def project(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    project(tmp_path, '[tool.dpaudit]\npreset = "mnist"\naccuracy = "none"\n')
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    arguments = argparse.Namespace(preset=None, accuracy="digits", runs=None)
    apply_configuration(arguments, inner)
    assert (arguments.preset, arguments.accuracy, arguments.runs) == ("mnist", "digits", 1)


def test_options_that_a_command_does_not_have_are_not_added(tmp_path: Path) -> None:
    project(tmp_path, '[tool.dpaudit]\npreset = "mnist"\n')
    arguments = argparse.Namespace(q=0.1)
    apply_configuration(arguments, tmp_path)
    assert vars(arguments) == {"q": 0.1}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[tool.dpaudit]\npresett = 'mnist'", UsageError, "did you mean 'preset'"),
        ("[tool.dpaudit]\npreset = 3", UsageError, "wrong type"),
        ("[tool.dpaudit]\nruns = true", UsageError, "wrong type"),
        ("[tool]\ndpaudit = 3", UsageError, "expected a table"),
        ("tool = [", DataError, "expected TOML"),
    ],
)
def test_a_malformed_configuration_is_named(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_configuration(project(tmp_path, text))
