"""The worker's half of watched against unwatched: the runs of a plan under the tape, every operation seen.

``python -m dpaudit.probe.watched_run REQUEST ANSWER`` makes sampling runs in a process of their own.
"""

import json
import sys
from pathlib import Path
from typing import Any

from .clean_run import Statistics, follow
from .loading import Candidate, load_candidate
from .tape import Tape, run


def watched_statistics(candidate: Candidate, plan: dict[str, Any]) -> Statistics:
    """The runs of one plan with this process's instrumentation; each call has its own tape."""

    def call(mechanism: Any, batch: list[Any], step: int, epoch: int) -> Any:
        return run(Tape(candidate.path), lambda: mechanism.clip_and_noise(batch, step, epoch))

    return follow(lambda: candidate.cls(*plan["constructor"]), call, plan)


def _main() -> None:
    from dpaudit.contract.guard import Guard

    from .examination import prepare
    from .worker import confine

    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = open(sys.argv[2], "w", encoding="utf-8")  # noqa: SIM115 - opened before the candidate may open nothing
    prepare(0)
    guard = Guard(request["path"], Path.cwd())
    guard.install()
    confine(request["memory_limit_mib"])
    candidate = load_candidate(request["text"], request["path"], request["class_name"])
    answers = [watched_statistics(candidate, plan) for plan in request["plans"]]
    guard.off()
    answer.write(json.dumps(answers))
    answer.flush()


if __name__ == "__main__":
    _main()
