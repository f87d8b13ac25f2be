"""The worker's entry: ``python -m dpaudit.probe.worker REQUEST TRACES`` examines one candidate and writes JSON lines.

Answers go to the file descriptor that was standard output at the start; the candidate's own output goes nowhere.
Lines: ``{"ready": true}``, ``{"progress": [done, all]}``, then one of ``{"result": ...}``, ``{"fault": text}``.
"""

import faulthandler
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from .messages import Request, decode_request, encode_result


class Answers:
    """Writes answers on a descriptor of its own."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")

    def send(self, message: dict[str, Any]) -> None:
        """One line of JSON."""
        self._file.write(json.dumps(message) + "\n")
        self._file.flush()


def main() -> None:
    """Examine the candidate that the request names."""
    answers = Answers()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    traces = open(sys.argv[2], "w", encoding="utf-8")  # noqa: SIM115 - stays open for the fault handler
    faulthandler.enable(file=traces)
    try:
        request = decode_request(Path(sys.argv[1]).read_text(encoding="utf-8"))
        from .examination import examine_candidate, prepare
        from .guard import Guard

        prepare(request.seed)
        guard = Guard(request.path, Path.cwd())
        guard.install()
        _limit_memory(request)
        answers.send({"ready": True})
        faulthandler.dump_traceback_later(0.95 * request.time_limit, file=traces)
        result = examine_candidate(
            request, guard.attempts, lambda done, total: answers.send({"progress": [done, total]})
        )
        faulthandler.cancel_dump_traceback_later()
        guard.off()
        answers.send({"result": encode_result(result)})
    except BaseException:
        answers.send({"fault": traceback.format_exc(limit=-8)[-2000:]})


def _limit_memory(request: Request) -> None:
    """Limit private memory. Address space cannot be limited: torch reserves far more than it uses."""
    import resource

    size = request.memory_limit_mib * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))


if __name__ == "__main__":
    main()
