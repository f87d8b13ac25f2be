"""The worker that measures one pair: ``python -m dpaudit.properties.pair_worker REQUEST TRACES COUNTEREXAMPLE``.

The manners are those of the probe's worker.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dpaudit.contract.guard import Attempt
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.messages import Request
from dpaudit.probe.worker import Send, serve
from dpaudit.probe.world import UncopyableState

from .batches import Beside, Geometry
from .counterexample import Counterexample, read_counterexample
from .histories import make_session, walk
from .moments import Moment
from .readings import Unreadable


def _examine(request: Request, attempts: Sequence[Attempt], send: Send) -> dict[str, Any]:
    found = read_counterexample(json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")))
    nothing = {"finite": False, "noise_multiplier": None, "reported": None, "relative_change": None}
    try:
        return _measured(request, found)
    except (CandidateError, Unreadable, UncopyableState) as error:
        return {**nothing, "failed": str(error)}


def _measured(request: Request, found: Counterexample) -> dict[str, Any]:
    config = request.config
    geometry = Geometry.of(config, found.shapes)
    session = make_session(request, geometry, getattr(torch, found.dtype), request.seed)
    release = walk(session, config, geometry, found.history, found.step)
    epoch = config.epoch_of(found.step)
    moment = Moment(session, geometry, session.snapshot(), found.step, epoch, "", found.history, release)
    beside = Beside(content=found.content, count=found.count)
    effect = moment.effect(beside, torch.tensor(found.row, dtype=torch.float64).to(session.dtype))
    return {
        "finite": effect.finite,
        "noise_multiplier": str(effect.sigma) if effect.finite else None,
        "reported": moment.reading(beside).reported,
        "relative_change": None if effect.noise_ratio is None else str(effect.noise_ratio - 1),
        "failed": "",
    }


def main() -> None:
    """Measure the pair that the command line names."""
    serve(_examine)


if __name__ == "__main__":
    main()
