"""docs/howto-opacus.md: its script is a script, its commands exist, and (DPAUDIT_POWER=1) its transcript is what is printed."""

import ast
import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dpaudit.cli import main
from dpaudit.options.parser import build_parser

from .transcript import Command, File, missing, steps

PAGE = steps("howto-opacus.md")
SETTINGS = (
    '    clipping="adaptive",\n    target_unclipped_quantile=0.5,\n    clipbound_learning_rate=0.2,\n    max_clipbound=10.0,\n'
    "    min_clipbound=0.1,\n    unclipped_num_std=3.0,\n"
)


def test_the_script_parses_and_the_commands_exist() -> None:
    (script,) = [step for step in PAGE if isinstance(step, File)]
    ast.parse(script.text)
    assert "dpaudit" not in script.text
    gates = [shlex.split(step.line) for step in PAGE if isinstance(step, Command) and "gate" in step.line]
    assert len(gates) == 3
    for words in gates:
        build_parser().parse_args(words[1:])


@pytest.mark.timeout(3600)
@pytest.mark.skipif("DPAUDIT_POWER" not in os.environ, reason="three audits; DPAUDIT_POWER=1 runs the transcript")
@pytest.mark.skipif(
    importlib.util.find_spec("opacus") is None, reason="Opacus is not installed: pip install 'dpaudit[opacus]'"
)
def test_the_transcript_is_what_the_programs_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    codes = []
    for step in PAGE:
        if isinstance(step, File):
            Path(step.name).write_text(step.text, encoding="utf-8")
            changed = step.text.replace("    max_grad_norm=1.0,\n", "    max_grad_norm=1.0,\n" + SETTINGS)
            Path("adaptive.py").write_text(changed, encoding="utf-8")
            continue
        words = shlex.split(step.line)
        if words[0] == "python":
            output = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=True).stdout
        else:
            codes.append(main(words[1:]))
            output = capsys.readouterr().out
        assert not missing(step, output), (step.line, missing(step, output), output)
    assert codes == [0, 1, 1]
