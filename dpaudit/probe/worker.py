"""The worker's side: ``python -m dpaudit.probe.worker REQUEST TRACES`` examines one candidate and writes JSON lines.

Answers go to the file descriptor that was standard output at the start; the candidate's own output goes nowhere.
Lines: ``{"ready": true}``, ``{"progress": [done, all]}``, then one of ``{"result": ...}``, ``{"fault": text}``.
:func:`serve` gives other layers' workers the same manners.
"""

import faulthandler
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dpaudit.contract.guard import Attempt, Guard
from dpaudit.contract.kernel_barrier import raise_barrier

from .messages import Request, decode_request, encode_result

PRELOAD = ("dpaudit.probe.examination",)
"""What :func:`main` imports late; see :mod:`dpaudit.probe.fork_server`."""

Send = Callable[[dict[str, Any]], None]
Examine = Callable[[Request, Sequence[Attempt], Send], Any]


class Answers:
    """Writes answers on a descriptor of its own: after the start nothing else reaches the parent."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)

    def send(self, message: dict[str, Any]) -> None:
        """One line of JSON."""
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()

    def send_fault(self) -> None:
        """The exception that is being handled, as a fault of ours."""
        self.send({"fault": traceback.format_exc(limit=-8)[-2000:]})


def confine(memory_mib: int, *, file_mib: int = 64) -> None:
    """Limit private memory and the size of files, and let the kernel refuse what the guard refuses.

    Files can be written below the working directory only. Address space cannot be limited: torch reserves far more than it
    uses. Call it with one thread, after everything that has to be opened for writing was opened.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (memory_mib * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_mib * 2**20,) * 2)
    raise_barrier(Path.cwd())


def serve(examine: Examine) -> None:
    """Serve the request that the command line names, under the guard and the limits.

    Args:
        examine: gets the request, the guard's list of refused actions, and a way to send progress; its value is the result.
    """
    answers = Answers()
    traces = open(sys.argv[2], "w", encoding="utf-8")  # noqa: SIM115 - stays open for the fault handler
    faulthandler.enable(file=traces)
    try:
        request = decode_request(Path(sys.argv[1]).read_text(encoding="utf-8"))
        from .examination import prepare

        prepare(request.seed)
        guard = Guard(request.path, Path.cwd())
        guard.install()
        confine(request.memory_limit_mib)
        answers.send({"ready": True})
        faulthandler.dump_traceback_later(0.95 * request.time_limit, repeat=True, file=traces)
        result = examine(request, guard.attempts, answers.send)
        faulthandler.cancel_dump_traceback_later()
        guard.off()
        answers.send({"result": result})
    except BaseException:
        answers.send_fault()


def _examine(request: Request, attempts: Sequence[Attempt], send: Send) -> Any:
    from .examination import examine_candidate

    return encode_result(examine_candidate(request, attempts, lambda done, total: send({"progress": [done, total]})))


def main() -> None:
    """Examine the candidate that the request names."""
    serve(_examine)


if __name__ == "__main__":
    main()
