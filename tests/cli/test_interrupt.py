"""Ctrl-C: the command ends with 130 and says how to go on, nothing stays behind, and ``--resume`` finishes the work."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from dpaudit.cli import main

ROOT = Path(__file__).resolve().parents[2]
MECHANISM = (ROOT / "mechanisms" / "accepted" / "standard_dpsgd.py").read_text(encoding="utf-8")
HANGING = MECHANISM.replace(
    "def clip_and_noise(self, per_sample_grads, step, epoch):",
    "def clip_and_noise(self, per_sample_grads, step, epoch):\n        import time\n        time.sleep(600)",
    1,
)


def hear_interrupts() -> None:
    """Before the program starts: where the tests run in the background, interrupts are ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def take_terminal() -> None:
    """The same, with standard input as the terminal of the session."""
    hear_interrupts()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def start(words: list[str], folder: Path, *, terminal: bool) -> tuple[subprocess.Popen[bytes], Callable[[], None]]:
    """A command in a session of its own, and how its user interrupts it."""
    command = [sys.executable, "-m", "dpaudit", *words]
    with (folder / "stderr.txt").open("wb") as log:
        if not terminal:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stderr=log, stdout=log, preexec_fn=hear_interrupts
            )
            return process, lambda: process.send_signal(signal.SIGINT)
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=theirs,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(theirs)
        return process, lambda: os.write(ours, b"\x03") and None


def descendants(pid: int) -> set[int]:
    """Every process below ``pid``, by the kernel's own list."""
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        for task in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            below = {int(word) for word in task.read_text().split()}
            waiting += below - found
            found |= below
    return found


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to see which processes stay behind")
@pytest.mark.parametrize(
    "terminal",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif("DPAUDIT_POWER" not in os.environ, reason="the same by Ctrl-C on a terminal")
        ),
    ],
    ids=["signal", "terminal"],
)
def test_an_interrupted_gate_goes_on_where_it_was(tmp_path: Path, terminal: bool) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "quick.py").write_text("NOTHING = 'no mechanism in here'\n")
    slow = tmp_path / "b" / "slow.py"
    slow.write_text(HANGING)
    words = ["gate", "a/quick.py", "b/slow.py", "--jobs", "1", "--layers", "static", "--accuracy", "none"]
    words += ["--out", "out", "--preset", "digits"]
    process, interrupt = start(words, tmp_path, terminal=terminal)
    finished = tmp_path / "out" / "finished"
    assert wait_for(lambda: len(list(finished.glob("*.json"))) == 1, 240), (tmp_path / "stderr.txt").read_text()
    (first,) = finished.glob("*.json")
    written = first.stat().st_mtime_ns
    assert wait_for(lambda: bool(descendants(process.pid)), 60)
    below = descendants(process.pid)
    interrupt()
    assert process.wait(timeout=60) == 130
    said = (tmp_path / "stderr.txt").read_text()
    assert said.splitlines()[-1] == "dpaudit: interrupted; finished audits are kept in out, go on with --resume"
    assert "Traceback" not in said
    assert not (tmp_path / "out" / "report.json").exists()
    assert list(finished.glob("*.json")) == [first], "what a killed worker left is no audit"
    assert wait_for(lambda: not any(map(alive, below)), 30), [
        (pid, Path(f"/proc/{pid}/cmdline").read_text()) for pid in below if alive(pid)
    ]
    slow.write_text("NOTHING = 'nor in here'\n")
    process, _ = start([*words, "--resume"], tmp_path, terminal=False)
    assert process.wait(timeout=300) == 4
    assert first.stat().st_mtime_ns == written
    assert (tmp_path / "out" / "report.json").exists()
    assert len(list(finished.glob("*.json"))) == 2


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_an_interrupted_training_ends_with_130_and_starts_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """The harness saves the run and returns; the command must neither go on to the next seed nor look finished."""
    trained = []

    def stopped(*arguments: object, seed: int, **words: object) -> SimpleNamespace:
        trained.append(seed)
        return SimpleNamespace(
            completed=False, accuracy=None, canaries=0, directory="run", dataset="digits", seconds=1.0, form="plain"
        )

    monkeypatch.setattr("harness.train", stopped)
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MECHANISM)
    words = {
        "train": ["train", "mine.py", "--preset", "digits", "--noise-multiplier", "1", "--seeds", "1,2"],
        "sweep": ["sweep", "mine.py", "--preset", "digits", "--grid", "learning_rate=1,2", "--hold-out", "100"],
    }[command]
    assert main([*words, "--quiet"]) == 130
    assert len(trained) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "dpaudit: interrupted"
