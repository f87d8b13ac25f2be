"""A mechanism in training that has switched the guard off: what it tries then, the kernel refuses, and the run goes on."""

import json
import os
import textwrap
from pathlib import Path

import pytest

import harness
from dpaudit.contract import RunRecord
from dpaudit.contract.kernel_barrier import barrier
from harness import TrainingFailure, behind_barrier, child, train_in_subprocess
from harness.behind_barrier import without_barrier

COMPLETE = pytest.mark.skipif(bool(barrier()), reason=f"no complete kernel barrier here: {'; '.join(barrier())}")
TRIES = """
import gc, ctypes, json, os, socket, subprocess
for thing in gc.get_objects():
    if type(thing).__module__ == 'dpaudit.contract.guard' and type(thing).__name__ == 'Guard':
        thing._on = False
libc = ctypes.CDLL(None)
TRIED = {{
    'write outside': lambda: open({outside!r} + '/new', 'w'),
    'change outside': lambda: open({outside!r} + '/kept', 'a'),
    'remove outside': lambda: os.remove({outside!r} + '/kept'),
    'cut outside': lambda: os.truncate({outside!r} + '/kept', 0),
    'its own source': lambda: open(self.clip_and_noise.__code__.co_filename, 'a'),
    'the package': lambda: open(__import__('dpaudit').__file__, 'a'),
    'the request': lambda: open('../request.json', 'w'),
    'the data': lambda: open({data!r} + '/new', 'w'),
    'fork': os.fork,
    'fork in C': lambda: 1 if libc.fork() < 0 else None,
    'program': lambda: subprocess.run(['/bin/true']),
    'signal to the parent': lambda: os.kill(os.getppid(), 0),
    'signal to all': lambda: os.kill(-1, 0),
    'environment of the audit': lambda: open('/proc/{parent}/environ', 'rb').read(),
    'socket': socket.socket,
    'session': os.setsid,
    'mode': lambda: os.chmod({run!r}, 0o777),
    'below the run': lambda: open({run!r} + '/mine', 'w').close(),
    'in its folder': lambda: open('mine', 'w').close(),
}}
def outcome(action):
    try:
        return 'refused' if action() == 1 else 'done'
    except OSError:
        return 'refused'
if step == 1:
    with open({run!r} + '/tried.json', 'w') as stream:
        json.dump({{name: outcome(action) for name, action in TRIED.items()}}, stream)
"""
ALLOWED = {"below the run", "in its folder"}


@COMPLETE
def test_the_kernel_holds_a_mechanism_that_has_switched_the_guard_off(variant, tmp_path: Path) -> None:
    outside, data, run = tmp_path / "outside", tmp_path / "data", tmp_path / "run"
    outside.mkdir()
    data.mkdir()
    (outside / "kept").write_text("kept")
    body = TRIES.format(outside=str(outside), data=str(data), run=str(run), parent=os.getpid())
    path = variant("        norms = ", textwrap.indent(body, " " * 8) + "        norms = ")
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=1)
    before = path.read_text()
    found = train_in_subprocess(
        str(path), "digits", seed=7, out=run, config=config, time_limit=120, device="cpu", data_root=data
    )
    assert isinstance(found, RunRecord), found
    tried = json.loads((run / "tried.json").read_text())
    assert len(tried) == 19
    assert {name for name, outcome in tried.items() if outcome == "done"} == ALLOWED
    assert path.read_text() == before
    assert [entry.name for entry in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    assert not list(data.iterdir())


def test_a_barrier_that_the_kernel_refuses_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*folders: Path) -> None:
        raise OSError(1, "not permitted")

    monkeypatch.setattr(behind_barrier, "raise_barrier", refuse)
    monkeypatch.setattr(behind_barrier, "Path", lambda text: tmp_path / "none")  # however many threads there are here
    monkeypatch.setattr(child, "_limit", lambda request: None)
    monkeypatch.setattr(child, "Guard", lambda *arguments: pytest.fail("nothing may follow"))
    outcome = child._outcome({"barrier": True, "task": "train", "spec": "m.py::M"})
    assert outcome["kind"] == "failed"
    assert "refuses the barrier" in outcome["message"]


@COMPLETE
def test_a_process_with_several_threads_is_not_trusted_to_be_confined(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    (tmp_path / "task" / "1").mkdir(parents=True)
    (tmp_path / "task" / "2").mkdir()
    monkeypatch.setattr(behind_barrier, "Path", lambda text: tmp_path / "task")
    monkeypatch.setattr(behind_barrier, "raise_barrier", lambda *folders: pytest.fail("it must not be raised"))
    with pytest.raises(RuntimeError, match="several"):
        behind_barrier.confine_to(tmp_path / "run")


def test_what_cannot_run_behind_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind_barrier.sys, "platform", "linux")
    monkeypatch.setattr(behind_barrier.torch.cuda, "is_available", lambda: True)
    assert without_barrier("cpu") == ""
    assert without_barrier("cuda:1") == without_barrier("auto") == "a CUDA device"
    assert without_barrier("cpu", compiled=True) == "compiled gradients"
    monkeypatch.setattr(behind_barrier.torch.cuda, "is_available", lambda: False)
    assert without_barrier("auto") == ""
    monkeypatch.setattr(behind_barrier.sys, "platform", "darwin")
    assert without_barrier("cpu") == "another system than Linux"


def test_a_crash_below_python_is_told_by_its_signal(variant, tmp_path: Path) -> None:
    path = variant("        norms = ", "        (lambda a: __import__('ctypes').string_at(a))(0)\n        norms = ")
    config = harness.run_config("digits", noise_multiplier=1.3, epochs=1)
    found = train_in_subprocess(
        str(path), "digits", seed=7, out=tmp_path / "run", config=config, time_limit=120, device="cpu"
    )
    assert isinstance(found, TrainingFailure)
    assert "signal SIGSEGV" in found.message
