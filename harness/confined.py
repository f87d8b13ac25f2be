"""Run a task that executes candidate code in a child process with limits.

The child gets its request and gives its result through files of its own folder, so nothing that a candidate prints is
ever parsed. Its environment holds a short list of variables: no secrets of the parent are inherited. Time, memory and the
size of a file are limited, and the guard of the probe (:mod:`dpaudit.contract.guard`) refuses what a candidate has no
business with: writing outside the child's own folder, starting processes, the network. Below the guard stands the kernel's
barrier (:mod:`harness.behind_barrier`), but for trainings on a CUDA device or with compiled gradients. The threat model is a
mistaken or over-eager author: a hang, a crash, an exit, a flood of output. It is not native malware.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .behind_barrier import on_cuda, without_barrier
from .candidate import Candidate
from .datasets import default_data_root

_INHERITED = ("CUDA_VISIBLE_DEVICES", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "VIRTUAL_ENV")
_OUTPUT_TAIL = 2_000
_SHARE_OF_MEMORY = 0.75
_KINDS = frozenset({"done", "crashed", "exited", "refused", "failed", "no_data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFailure:
    """Why there is no finished run.

    Attributes:
        kind: ``crashed`` (the candidate's code raised), ``exited`` (the process ended without a result, or the candidate
            tried to end it), ``refused`` (it tried what the guard refuses), ``timed_out``, ``no_data`` (the data set is
            absent or unreadable; the candidate was not yet loaded), or ``failed`` (disk, arguments).
        message: what happened, with the place.
        file, line: in the candidate's source; ``line`` is ``None`` where no line can be named.
        detail: end of the traceback or of the output, for a person.
    """

    kind: str
    message: str
    file: str
    line: int | None = None
    detail: str = ""


def run_confined(
    task: str,
    values: dict[str, Any],
    candidate: Candidate,
    *,
    time_limit: float,
    device: str = "auto",
    data_root: Path | str | None = None,
) -> dict[str, Any] | TrainingFailure:
    """Run ``task`` of :mod:`harness.child` in a process of its own, ended with all its descendants at the time limit.

    Returns:
        What the task answered: plain data, not yet checked. Or why there is no answer.
    """
    with tempfile.TemporaryDirectory(prefix="dpaudit-train-") as folder:
        home = Path(folder)
        (home / "work").mkdir()
        request, result, output = home / "request.json", home / "result.json", home / "output.txt"
        root = default_data_root() if data_root is None else Path(data_root)
        asked = {
            **values,
            "task": task,
            "spec": f"{candidate.path}::{candidate.class_name}",
            "device": device,
            "data_root": str(root.resolve()),
            "threads": torch.get_num_threads(),
            "parent": os.getpid(),
            "memory_bytes": memory_limit(device),
            "barrier": not without_barrier(device, compiled=bool((values.get("engine") or {}).get("compile"))),
        }
        request.write_text(json.dumps(asked), encoding="utf-8")
        status = _run_child([str(request), str(result)], home=home, output=output, time_limit=time_limit)
        tail = _tail(output)
        outcome = None if status is None else _read_outcome(result)
    if status is None:
        return TrainingFailure(
            kind="timed_out",
            message=f"training: {candidate.path}: expected an end within {time_limit:g} s, the process was still "
            "running and was stopped; raise the time limit, or find what hangs",
            file=candidate.path,
            detail=tail,
        )
    if outcome is None:
        return TrainingFailure(
            kind="exited",
            message=f"training: {candidate.path}: the process ended ({_describe(status)}) before training did",
            file=candidate.path,
            detail=tail,
        )
    if outcome["kind"] != "done":
        return TrainingFailure(
            kind=outcome["kind"],
            message=outcome["message"],
            file=candidate.path,
            line=outcome["line"],
            detail=outcome["trace"],
        )
    answer: dict[str, Any] = outcome["answer"]
    return answer


def memory_limit(device: str) -> int | None:
    """Private memory that the child may use, in bytes: three quarters of the machine's. None where CUDA maps its own."""
    if on_cuda(device):
        return None
    try:
        return int(_SHARE_OF_MEMORY * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not a POSIX system
        return None


def _run_child(arguments: list[str], *, home: Path, output: Path, time_limit: float) -> int | None:
    """Exit status, or ``None`` after a time-out. The child leads its own group, so its descendants end with it."""
    root, work = str(Path(__file__).resolve().parents[1]), str(home / "work")
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["HOME"] = work  # nothing of the user's own settings or credentials is found by default
    environment["TMPDIR"] = work
    environment["PYTHONPATH"] = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
    with output.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.child", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=work,
            start_new_session=True,
        )
        try:
            return child.wait(timeout=time_limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(child)


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    """Whatever is left of the child and of what it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def _read_outcome(path: Path) -> dict[str, Any] | None:
    """What the child wrote, or ``None`` if that is nothing usable."""
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(outcome, dict) or set(outcome) != {"kind", "message", "line", "trace", "answer"}:
        return None
    typed = all(isinstance(outcome[name], str) for name in ("message", "trace")) and isinstance(outcome["answer"], dict)
    known = outcome["kind"] in _KINDS
    return outcome if typed and known and (outcome["line"] is None or type(outcome["line"]) is int) else None


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _OUTPUT_TAIL))
        return stream.read().decode("utf-8", errors="replace")


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
