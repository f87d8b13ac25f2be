"""The child's entry: ``python -m dpaudit.properties.child REQUEST TRACES`` searches one candidate and writes JSON lines.

The same lines as the probe's worker: ``{"ready": true}``, then one of ``{"result": ...}``, ``{"fault": text}``.
"""

import faulthandler
import os
import sys
import traceback
from pathlib import Path

from dpaudit.probe.messages import Request, decode_request
from dpaudit.probe.worker import Answers

from .report import encode_report


def main() -> None:
    """Search the candidate that the request names."""
    answers = Answers()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    traces = open(sys.argv[2], "w", encoding="utf-8")  # noqa: SIM115 - stays open for the fault handler
    faulthandler.enable(file=traces)
    try:
        request = decode_request(Path(sys.argv[1]).read_text(encoding="utf-8"))
        from dpaudit.probe.examination import prepare
        from dpaudit.probe.guard import Guard

        from .examination import Examination

        prepare(request.seed)
        guard = Guard(request.path, Path.cwd())
        guard.install()
        _limit_memory(request)
        answers.send({"ready": True})
        faulthandler.dump_traceback_later(0.95 * request.time_limit, file=traces)
        report = Examination(request).run(guard.attempts)
        faulthandler.cancel_dump_traceback_later()
        guard.off()
        answers.send({"result": encode_report(report)})
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
