"""Whatever a candidate does to its process is a finding with its line, never a failure of the audit."""

import os
import time
from pathlib import Path

import pytest

from dpaudit.contract import Measurement, NoiseClass, Outcome
from dpaudit.probe import load_source, measure

pytestmark = pytest.mark.filterwarnings("default")


def _measured(tmp_path: Path, text: str, config, **limits) -> Measurement:
    path = tmp_path / "candidate.py"
    path.write_text(text)
    return measure(load_source(str(path)), config(epochs=1, steps_per_epoch=3), **limits)


def _line(text: str, marker: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if marker in line)


_FAILURES = {
    "raise": ("raise KeyError('no such layer')  # here", "DPA012", "raised KeyError: 'no such layer'"),
    "sys.exit": ("import sys; sys.exit(7)  # here", "DPA013", "tried to end the process"),
    "os._exit": ("import os; os._exit(0)  # here", "DPA013", "tried to end the process (EndedProcess: os._exit(0))"),
    "segfault": (
        "import ctypes; ctypes.string_at(0)  # here",
        "DPA013",
        "crashed its process with SIGSEGV (after 0 of",
    ),
    "fork": ("import os; os.fork()  # here", "DPA012", "os.fork is refused"),
    "subprocess": ("import subprocess; subprocess.run(['true'])  # here", "DPA012", "subprocess.Popen is refused"),
    "write": ("open('/tmp/dpaudit-escaped', 'w')  # here", "DPA012", "for writing is refused"),
    "memory": ("self.k = [torch.ones(2**27) for _ in range(64)]  # here", "DPA013", "exceeded the memory limit"),
}


@pytest.mark.parametrize("name", list(_FAILURES))
def test_failure_in_a_step(name, tmp_path, mechanism, config):
    code, rule, words = _FAILURES[name]
    text = mechanism(code + "\nreturn [m + self.noise(m) for m in self.mean(grads)]")
    result = _measured(tmp_path, text, config, memory_limit_mib=3000)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert set(result.classes) == {NoiseClass.UNRESOLVED}
    assert result.measured == (None, None, None)
    finding = next(finding for finding in result.findings if finding.rule == rule)
    assert words in finding.message
    assert finding.line == _line(text, "# here")
    assert not finding.refutes
    assert not Path("/tmp/dpaudit-escaped").exists()


def test_a_hang_is_stopped_and_its_line_named(tmp_path, mechanism, config):
    text = mechanism("while step == 1:\n    step = 1  # here\nreturn [m + self.noise(m) for m in self.mean(grads)]")
    started = time.monotonic()
    result = _measured(tmp_path, text, config, time_limit=4.0)
    assert time.monotonic() - started < 60
    (finding,) = result.findings
    assert finding.rule == "DPA013"
    assert "did not return within 4 s" in finding.message
    assert finding.line in {_line(text, "# here"), _line(text, "# here") - 1}
    assert result.outcome is Outcome.INCONCLUSIVE


def test_steps_that_no_time_was_left_for_are_said_with_what_helps(tmp_path, mechanism, config):
    text = mechanism("sum(range(500_000))\nreturn [m + self.noise(m) for m in self.mean(grads)]")
    result = _measured(tmp_path, text, lambda **_: config(epochs=200), time_limit=4.0)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.measured[-1] is None
    assert any("steps; the rest was not read (a longer --time-limit reads more)" in note for note in result.notes)


def test_nothing_secret_reaches_the_candidate_and_its_output_goes_nowhere(
    tmp_path, mechanism, config, monkeypatch, capfd
):
    monkeypatch.setenv("SOME_TOKEN", "hidden")
    text = mechanism(
        "import os, sys\n"
        "print('{\"result\": {}}', flush=True); os.write(1, b'{\"fault\": 1}\\n'); sys.stderr.write('noise')\n"
        "assert 'SOME_TOKEN' not in os.environ\n"
        "return [m + self.noise(m) for m in self.mean(grads)]"
    )
    result = _measured(tmp_path, text, config)
    assert result.outcome is Outcome.PASSED, result.findings
    assert "noise" not in "".join(capfd.readouterr())


def test_a_refused_action_is_a_finding_even_if_the_mechanism_swallows_it(tmp_path, mechanism, config):
    text = mechanism(
        "import os\ntry:\n    os.fork()  # here\nexcept Exception:\n    pass\n"
        "return [m + self.noise(m) for m in self.mean(grads)]"
    )
    result = _measured(tmp_path, text, config)
    finding = next(finding for finding in result.findings if finding.rule == "DPA012")
    assert "tried what it may not do: os.fork (refused)" in finding.message
    assert finding.line == _line(text, "# here")
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.measured[0] == pytest.approx(0.8)


def test_progress_reaches_the_last_step(tmp_path, mechanism, config):
    seen: list[tuple[int, int]] = []
    text = mechanism("return [m + self.noise(m) for m in self.mean(grads)]")
    result = _measured(tmp_path, text, config, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)
    assert result.outcome is Outcome.PASSED
    assert result.demonstrated
    assert os.getpid() > 0
