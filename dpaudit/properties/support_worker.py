"""The worker that tabulates what a release can be: ``python -m dpaudit.properties.support_worker REQUEST TRACES``.

The manners are those of the probe's worker. It sends tables; nothing is concluded here.
"""

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dpaudit.contract.guard import Attempt
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.messages import Request
from dpaudit.probe.work_clock import worked
from dpaudit.probe.worker import Send, serve
from dpaudit.probe.world import UncopyableState

from .batches import Beside, Geometry
from .histories import make_session
from .moments import Moment
from .readings import Unreadable
from .support_tables import Tables, tabulate


def _examine(request: Request, attempts: Sequence[Attempt], send: Send) -> dict[str, Any]:
    try:
        return _plain(_tabulated(request))
    except (CandidateError, Unreadable, UncopyableState) as error:
        return {"failed": str(error)}


def _tabulated(request: Request) -> Tables:
    """At the first step, at the run's own shapes, in the harness's precision."""
    deadline = worked() + 0.85 * request.time_limit
    geometry = Geometry.of(request.config, request.config.parameter_shapes)
    session = make_session(request, geometry, torch.float32, request.seed)
    moment = Moment(session, geometry, session.snapshot(), 0, request.config.epoch_of(0), "", "zeros", None)
    return tabulate(moment, Beside(count=geometry.counts()[0]), request.config, deadline)


def _plain(tables: Tables) -> dict[str, Any]:
    return {
        "failed": "",
        "dtype": str(tables.rounded.dtype).removeprefix("torch."),
        "mean": tables.rounded.mean,
        "spread": tables.rounded.spread,
        "tensor": tables.tensor,
        "coordinates": tables.coordinates,
        "row_norm": tables.row_norm,
        "without": _packed(tables.without),
        "with_row": _packed(tables.with_row),
        "unwatched": [list(counts) for counts in tables.unwatched],
    }


def _packed(table: Tensor) -> str:
    return base64.b64encode(zlib.compress(table.numpy().astype("<f8").tobytes(), 1)).decode("ascii")


def main() -> None:
    """Tabulate the candidate that the request names."""
    serve(_examine)


if __name__ == "__main__":
    main()
