"""docs/tutorial.md as a new user follows it, and the README's command table against the program."""

import ast
import os
import re
import shlex
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.options.parser import build_parser

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|console)\n(.*?)```", TUTORIAL, re.S)


def commands(block: str) -> list[tuple[str, list[str]]]:
    """``(command, printed lines)`` of a transcript."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def test_every_file_is_python_and_every_command_exists() -> None:
    assert [kind for kind, _ in BLOCKS].count("python") == 2
    seen = 0
    for kind, text in BLOCKS:
        if kind == "python":
            assert text.startswith("# file: my_mechanism.py\n")
            ast.parse(text)
            continue
        for command, _ in commands(text):
            words = shlex.split(command)
            if words[0] == "dpaudit" and words[1] != "--version":
                build_parser().parse_args(words[1:])
                seen += 1
    assert seen == 5


@pytest.mark.skipif("DPAUDIT_POWER" not in os.environ, reason="two whole audits; DPAUDIT_POWER=1 runs the transcript")
def test_the_transcript_is_what_the_program_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    first = ""
    for kind, text in BLOCKS:
        if kind == "python":
            Path("my_mechanism.py").write_text(text, encoding="utf-8")
            first = first or text
            continue
        for command, printed in commands(text):
            words = shlex.split(command)
            if words[0] != "dpaudit" or words[1] == "--version":
                continue
            if "--resume" in words:
                Path("my_mechanism.py").write_text(first, encoding="utf-8")
            main(words[1:])
            out = capsys.readouterr().out.splitlines()
            place = 0
            for line in printed:
                if line != "...":
                    assert line in out[place:], (command, line, out)
                    place = out.index(line, place) + 1


def test_the_readme_names_every_command_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `dpaudit ([a-z]+)", readme, re.M))
    (commands_action,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    assert commands_action.choices is not None
    assert named == set(commands_action.choices)


def test_every_option_in_the_documentation_exists() -> None:
    """Options in commands of the README and the how-tos are parsed by the program itself."""
    known = set()
    (commands_action,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    for parser in commands_action.choices.values():  # type: ignore[union-attr]
        known |= set(parser._option_string_actions)
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    used = {
        option
        for page in pages
        for line in re.findall(
            r"dpaudit (?:gate|train|report|diff|rules|verify|explain)\b[^`\n|]*", page.read_text("utf-8")
        )
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", line)
    }
    assert len(used) >= 8
    assert used <= known | {"--help", "--version"}, sorted(used - known)


def test_help_of_every_command_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    (commands_action,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    names = list(commands_action.choices)  # type: ignore[arg-type]
    assert len(names) >= 11
    for name in names:
        with pytest.raises(SystemExit):
            main([name, "--help"])
        text = capsys.readouterr().out
        assert "examples:" in text
        assert "exit codes: 0 " in text
