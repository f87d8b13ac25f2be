"""docs/tutorial.md as a new user follows it, and the README's command table against the program."""

import ast
import os
import re
import shlex
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.options.parser import build_parser
from dpaudit.report import from_json

from .transcript import Command, File, missing, steps

ROOT = Path(__file__).resolve().parents[1]
PAGE = steps("tutorial.md")


def test_every_file_is_python_and_every_command_exists() -> None:
    files = [step for step in PAGE if isinstance(step, File)]
    assert [file.name for file in files] == ["my_mechanism.py"] * 2
    for file in files:
        ast.parse(file.text)
    seen = 0
    for step in PAGE:
        if isinstance(step, Command) and _own(step):
            build_parser().parse_args(shlex.split(step.line)[1:])
            seen += 1
    assert seen == 5


def _own(step: Command) -> bool:
    words = shlex.split(step.line)
    return words[0] == "dpaudit" and words[1] != "--version"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "without_attacks",
    [
        True,
        pytest.param(
            False,
            marks=pytest.mark.skipif("DPAUDIT_POWER" not in os.environ, reason="with attacks: DPAUDIT_POWER=1"),
        ),
    ],
    ids=["deterministic layers", "as it stands"],
)
def test_the_transcript_is_what_the_program_prints(
    without_attacks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line of the page depends on the attacks, so that the other layers show them too, in half the time."""
    monkeypatch.chdir(tmp_path)
    first, codes = "", []
    for step in PAGE:
        if isinstance(step, File):
            Path(step.name).write_text(step.text, encoding="utf-8")
            first = first or step.text
            continue
        if not _own(step):
            continue
        words = shlex.split(step.line)[1:]
        if "--resume" in words:
            Path("my_mechanism.py").write_text(first, encoding="utf-8")
        if words[0] == "gate" and without_attacks:
            words += ["--layers", "static,properties,replay"]
        codes.append(main(words))
        output = capsys.readouterr().out
        assert not missing(step, output), (step.line, missing(step, output), output)
    assert codes == [0, 1, 0, 1, 0]
    (report,) = from_json(Path("report/report.json").read_text("utf-8"))
    last = report.curves.spend[-1]
    assert (last.lower, last.upper) == (report.epsilon.replayed.lower, report.epsilon.replayed.upper)
    assert [curve.place for curve in report.curves.tradeoffs] == ([] if without_attacks else ["step", "run"])


def test_a_transcript_that_is_not_printed_is_found() -> None:
    command = Command("dpaudit rules", ("...", "one ... three", "four"))
    assert missing(command, "zero\none two three\nfour\n") == ""
    assert missing(command, "four\none two three\n") == "four"
    assert missing(command, "one two\nfour\n") == "one ... three"


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
