"""One request to a worker: send it, listen, stop it, and turn whatever happens into a result or a finding.

The candidate never runs here. The worker's module differs by layer (the probe's, the property search's); its manners are
those of :func:`dpaudit.probe.worker.serve`.
"""

import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dpaudit.contract import AuditBrokenError, Severity, Strength
from dpaudit.contract.scratch import scratch_folder

from .isolated_process import START_LIMIT, IsolatedProcess
from .messages import InvalidMessage, Request, Result, decode_result, encode_request
from .problem import Problem
from .work_clock import PATIENCE, WorkBudget

_GRACE = 5.0

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class _Ending:
    """How the worker ended: its last answer, or its exit."""

    answer: dict[str, Any] | None = None
    done: int = 0
    timed_out: bool = False
    ready: bool = False
    exit_code: int | None = None


def run_worker(request: Request, progress: Progress | None) -> Result | Problem:
    """Examine a candidate in a process of its own. A :class:`Problem` if the candidate ended or hung the process.

    Raises:
        AuditBrokenError: the worker failed through no doing of the candidate.
    """
    answer = ask("dpaudit.probe.worker", request, progress)
    if isinstance(answer, Problem):
        return answer
    try:
        return decode_result(answer, request.config.total_steps)
    except InvalidMessage as error:
        raise AuditBrokenError(f"the worker for {request.path} sent an invalid result: {error}") from error


def ask(
    module: str, request: Request, progress: Progress | None = None, *, attachment: str | None = None
) -> Any | Problem:
    """What a worker module answers to a request, undecoded; a :class:`Problem` (DPA013) if the candidate ended or hung it.

    Args:
        module: whose ``main`` calls :func:`dpaudit.probe.worker.serve`.
        attachment: a text for the worker beside the request; the path of its file is the worker's third argument.

    Guarantee: returns when the worker has worked for the request's time limit and a few seconds, or waited for three times as
    long (:mod:`.work_clock`), counted from its start; nothing that the candidate does in its process raises here.

    Raises:
        AuditBrokenError: the worker failed through no doing of the candidate.
    """
    with scratch_folder() as home:
        (home / "request.json").write_text(encode_request(request), encoding="utf-8")
        traces = home / "traces.txt"
        arguments = [str(home / "request.json"), str(traces)]
        if attachment is not None:
            (home / "attachment").write_text(attachment, encoding="utf-8")
            arguments.append(str(home / "attachment"))
        with IsolatedProcess(module, arguments, home / "work") as process:
            ending = _listen(process, request.time_limit, progress)
            ending.exit_code = process.stop()
        text = traces.read_text(encoding="utf-8", errors="replace") if traces.exists() else ""
    answer = ending.answer or {}
    if "result" in answer:
        return answer["result"]
    if "fault" in answer:
        raise AuditBrokenError(f"the worker {module} for {request.path} failed: {answer['fault']}")
    if not ending.ready:
        raise AuditBrokenError(
            f"the worker {module} for {request.path} did not start (exit code {ending.exit_code}); "
            f"see that torch can be imported by {sys.executable}"
        )
    return _ended(ending, request, text)


def _listen(process: IsolatedProcess, time_limit: float, progress: Progress | None) -> _Ending:
    """Take answers until the result, the end of the process, or the end of the time."""
    ending = _Ending()
    budget: WorkBudget | None = None
    start = time.monotonic() + START_LIMIT
    while ending.answer is None:
        message = process.answer(start - time.monotonic()) if budget is None else process.answer_by(budget)
        if message is None:
            ending.timed_out = process.hung
            break
        if "ready" in message and not ending.ready:
            ending.ready = True
            budget = WorkBudget(process.pid, time_limit + _GRACE)
        match message.get("progress"):
            case [int(done), int(total)]:
                ending.done = done
                if progress is not None:
                    progress(done, total)
        if "result" in message or "fault" in message:
            ending.answer = message
    return ending


def _ended(ending: _Ending, request: Request, traces: str) -> Problem:
    """The candidate hung the worker, or ended it."""
    line = _line_in(traces, request.path)
    reached = f"after {ending.done} of {request.config.total_steps} steps"
    if ending.timed_out:
        message = (
            f"the mechanism did not return within {request.time_limit:g} s of work or {PATIENCE * request.time_limit:g} s of "
            f"waiting ({reached})"
        )
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
    """Line of the innermost frame of the candidate in the last stack of the fault handler's text."""
    match = re.search(r'File "' + re.escape(path) + r'", line (\d+)', traces.rsplit("Timeout (", 1)[-1])
    return int(match.group(1)) if match else None
