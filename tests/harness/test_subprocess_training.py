"""Training an untrusted candidate: every way to end badly is a failure with a place, never an exception or a hang."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import harness
from dpaudit.contract import RunConfig, RunRecord, UsageError
from harness import TrainingFailure, train_in_subprocess

Variant = Callable[[str, str], Path]


@pytest.fixture
def short() -> RunConfig:
    return harness.run_config("digits", noise_multiplier=1.3, epochs=1)


def go(path: Path, out: Path, config: RunConfig, *, time_limit: float = 120.0) -> RunRecord | TrainingFailure:
    return train_in_subprocess(str(path), "digits", seed=7, out=out, config=config, time_limit=time_limit, device="cpu")


def test_the_record_is_the_one_that_training_in_this_process_gives(
    variant: Variant, tmp_path: Path, short: RunConfig
) -> None:
    path = variant("        norms = ", "        print('{\"accuracy\": 100}', flush=True)\n        norms = ")
    found = go(path, tmp_path / "child", short)
    assert isinstance(found, RunRecord)
    own = harness.train(str(path), "digits", seed=7, out=tmp_path / "own", config=short, device="cpu", progress=False)
    assert found.accuracy == own.accuracy
    assert found.ledger == own.ledger


def test_a_crash_names_the_line(variant: Variant, tmp_path: Path, short: RunConfig) -> None:
    path = variant("        norms = ", "        if step == 2:\n            1 / 0\n        norms = ")
    found = go(path, tmp_path / "run", short)
    assert isinstance(found, TrainingFailure)
    assert found.kind == "crashed"
    assert found.file == str(path)
    assert found.line == path.read_text().splitlines().index("            1 / 0") + 1
    assert "ZeroDivisionError" in found.message
    assert "step 2" in found.message


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        ("raise SystemExit(0)", "crashed", "it ended the process with SystemExit"),
        ("__import__('os')._exit(0)", "exited", "os._exit(0)"),
        ("__import__('os').kill(__import__('os').getpid(), 11)", "crashed", "os.kill is refused"),
        ("(lambda address: __import__('ctypes').string_at(address))(0)", "exited", "signal SIGSEGV"),
    ],
)
def test_an_exit_is_a_failure_even_with_status_zero(
    variant: Variant, tmp_path: Path, short: RunConfig, line: str, kind: str, words: str
) -> None:
    found = go(variant("        norms = ", f"        {line}\n        norms = "), tmp_path / "run", short)
    assert isinstance(found, TrainingFailure)
    assert found.kind == kind
    assert words in found.message


def test_a_hang_ends_at_the_limit(variant: Variant, tmp_path: Path, short: RunConfig) -> None:
    path = variant("        norms = ", "        import time\n        time.sleep(600)\n        norms = ")
    started = time.monotonic()
    found = go(path, tmp_path / "run", short, time_limit=20)
    assert time.monotonic() - started < 60
    assert isinstance(found, TrainingFailure)
    assert found.kind == "timed_out"
    assert "within 20 s" in found.message


@pytest.mark.parametrize(
    ("attempt", "action", "swallowed"),
    [
        ("__import__('pathlib').Path({place!r}).write_text('x')", "for writing", True),
        ("__import__('subprocess').Popen(['true'])", "subprocess.Popen", False),
    ],
)
def test_what_the_guard_refuses_is_a_failure_even_if_the_refusal_is_swallowed(
    variant: Variant, tmp_path: Path, short: RunConfig, attempt: str, action: str, swallowed: bool
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("mine")
    line = attempt.format(place=str(kept))
    body = f"try:\n            {line}\n        except OSError:\n            pass" if swallowed else line
    found = go(variant("        norms = ", f"        {body}\n        norms = "), tmp_path / "run", short)
    assert isinstance(found, TrainingFailure)
    assert found.kind == ("refused" if swallowed else "crashed")
    assert action in found.message
    assert found.line is not None
    assert kept.read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the child on Linux only")
def test_the_child_ends_when_its_parent_is_killed(variant: Variant, tmp_path: Path) -> None:
    pid = "__import__('pathlib').Path('pid').write_text(str(__import__('os').getpid()))"
    path = variant("        norms = ", f"        {pid}; __import__('time').sleep(600)\n        norms = ")
    words = f"train_in_subprocess({str(path)!r}, 'digits', seed=7, out={str(tmp_path / 'run')!r}, config=config, time_limit=600)"
    script = "import harness\nfrom harness import train_in_subprocess\n"
    script += "config = harness.run_config('digits', noise_multiplier=1.3, epochs=1)\n" + words
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=Path(__file__).parents[2])
    found: list[Path] = []
    for _ in range(2_000):
        found = [place for place in tmp_path.glob("dpaudit-train-*/work/pid") if place.read_text()]
        if found or parent.poll() is not None:
            break
        time.sleep(0.1)
    child = int(found[0].read_text())
    parent.kill()
    parent.wait()
    assert not _alive(child)


def _alive(pid: int) -> bool:
    """Whether the process runs; one that has ended but was not yet waited for does not."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True


def test_a_mechanism_may_write_in_the_temporary_folder(variant: Variant, tmp_path: Path, short: RunConfig) -> None:
    line = "__import__('pathlib').Path('scratch.txt').write_text('x')"
    found = go(variant("        norms = ", f"        {line}\n        norms = "), tmp_path / "run", short)
    assert isinstance(found, RunRecord)


def test_a_runaway_allocation_ends_in_the_child(
    variant: Variant, tmp_path: Path, short: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.confined.memory_limit", lambda device: 2 * 2**30)
    path = variant("        norms = ", "        kept = torch.ones(2**30)\n        norms = ")
    found = go(path, tmp_path / "run", short)
    assert isinstance(found, TrainingFailure)
    assert found.kind == "crashed"
    assert "allocate" in found.message
    assert found.line == path.read_text().splitlines().index("        kept = torch.ones(2**30)") + 1


def test_no_secret_of_the_environment_is_inherited(
    variant: Variant, tmp_path: Path, short: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", "secret-value")
    seen = "'SERVICE_TOKEN' in __import__('os').environ"
    path = variant("        norms = ", f"        assert not ({seen}), 'inherited'\n        norms = ")
    assert isinstance(go(path, tmp_path / "run", short), RunRecord)
    assert "secret-value" in repr(dict(os.environ))


def test_bad_data_are_a_failure_that_blames_no_line(mechanism: Path, tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"")
    found = train_in_subprocess(
        str(mechanism),
        "mnist",
        seed=7,
        out=tmp_path / "run",
        config=harness.run_config("mnist", noise_multiplier=1.0),
        time_limit=120,
        data_root=tmp_path,
    )
    assert isinstance(found, TrainingFailure)
    assert found.kind == "no_data"
    assert found.line is None
    assert "got 0 bytes" in found.message


def test_a_candidate_that_cannot_be_read_starts_nothing(tmp_path: Path, short: RunConfig) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        go(tmp_path / "absent.py", tmp_path / "run", short)
    assert not (tmp_path / "run").exists()
