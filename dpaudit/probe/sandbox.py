"""The parent's side of the worker: start it, listen, stop it, and turn whatever happens into findings.

The candidate never runs here. Its process has a scrubbed environment, a temporary folder, a time limit and a memory
limit, and its whole process group is killed at the end.
"""

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dpaudit
from dpaudit.contract import AuditBrokenError, Severity, Strength

from .messages import InvalidMessage, Request, Result, decode_result, encode_request
from .problem import Problem

_START_LIMIT = 180.0
_GRACE = 5.0
_ANSWER_LIMIT = 2**26
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")


@dataclass(slots=True)
class _Ending:
    """How the worker ended: its last answer, or its exit."""

    answer: dict[str, Any] | None
    done: int
    timed_out: bool
    ready: bool
    exit_code: int | None


def run_worker(request: Request, progress: Callable[[int, int], None] | None) -> Result | Problem:
    """Examine a candidate in a process of its own. A :class:`Problem` if the candidate ended or hung the process.

    Raises:
        AuditBrokenError: the worker failed through no doing of the candidate.
    """
    with tempfile.TemporaryDirectory(prefix="dpaudit-") as folder:
        home = Path(folder)
        (home / "work").mkdir()
        (home / "request.json").write_text(encode_request(request), encoding="utf-8")
        traces = home / "traces.txt"
        ending = _listen(_start(home, traces), request, progress)
        text = traces.read_text(encoding="utf-8", errors="replace") if traces.exists() else ""
    if ending.answer is not None and "result" in ending.answer:
        try:
            return decode_result(ending.answer["result"], request.config.total_steps)
        except InvalidMessage as error:
            raise AuditBrokenError(f"probe: the worker for {request.path} sent an invalid result: {error}") from error
    if ending.answer is not None and "fault" in ending.answer:
        raise AuditBrokenError(f"probe: the worker for {request.path} failed: {ending.answer['fault']}")
    if not ending.ready:
        raise AuditBrokenError(
            f"probe: the worker for {request.path} did not start (exit code {ending.exit_code}); "
            "see that torch can be imported by " + sys.executable
        )
    return _ended(ending, request, text)


def _start(home: Path, traces: Path) -> subprocess.Popen[bytes]:
    package_root = str(Path(dpaudit.__file__).resolve().parent.parent)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    paths = [package_root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    work = str(home / "work")
    environment |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.defpath,
        "HOME": work,
        "TMPDIR": work,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "dpaudit.probe.worker", str(home / "request.json"), str(traces)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=work,
        start_new_session=True,
    )


def _listen(process: subprocess.Popen[bytes], request: Request, progress: Callable[[int, int], None] | None) -> _Ending:
    """Read answers until the result, the end of the process, or the end of the time."""
    assert process.stdout is not None
    ending = _Ending(None, 0, False, False, None)
    deadline = time.monotonic() + _START_LIMIT
    buffer = b""
    try:
        while True:
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                ending.timed_out = True
                break
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                break
            buffer += chunk
            *lines, buffer = buffer.split(b"\n")
            if len(buffer) > _ANSWER_LIMIT:
                break
            for line in lines:
                if _take(line, ending, progress):
                    deadline = time.monotonic() + request.time_limit + _GRACE
            if ending.answer is not None:
                break
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        ending.exit_code = process.wait()
        process.stdout.close()
    return ending


def _take(line: bytes, ending: _Ending, progress: Callable[[int, int], None] | None) -> bool:
    """Take one answer in; True if the worker has just become ready. What is not an answer is ignored."""
    try:
        message = json.loads(line)
    except ValueError:
        return False
    if not isinstance(message, dict):
        return False
    if "ready" in message and not ending.ready:
        ending.ready = True
        return True
    match message.get("progress"):
        case [int(done), int(total)]:
            ending.done = done
            if progress is not None:
                progress(done, total)
    if "result" in message or "fault" in message:
        ending.answer = message
    return False


def _ended(ending: _Ending, request: Request, traces: str) -> Problem:
    """The candidate hung the worker, or ended it."""
    line = _line_in(traces, request.path)
    reached = f"after {ending.done} of {request.config.total_steps} steps"
    if ending.timed_out:
        message = f"the mechanism did not return within {request.time_limit:g} s ({reached})"
    elif ending.exit_code is not None and ending.exit_code < 0:
        message = f"the mechanism crashed its process with {_signal_name(-ending.exit_code)} ({reached})"
    else:
        message = f"the mechanism ended its process ({reached})"
    return Problem("DPA013", Severity.MAJOR, Strength.PROOF, message, line)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _line_in(traces: str, path: str) -> int | None:
    """Line of the innermost frame of the candidate in the fault handler's text."""
    match = re.search(r'File "' + re.escape(path) + r'", line (\d+)', traces)
    return int(match.group(1)) if match else None
