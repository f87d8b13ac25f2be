"""The worker that counts releases of one exact value: ``python -m dpaudit.properties.exact_value_worker REQUEST TRACES``.

The manners are those of the probe's worker. It sends counts; nothing is concluded here.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import Relation, Rows, RunConfig, Sampler
from dpaudit.contract.guard import Attempt
from dpaudit.probe.candidates import shrink
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.messages import Request
from dpaudit.probe.session import Session
from dpaudit.probe.work_clock import worked
from dpaudit.probe.worker import Send, serve
from dpaudit.probe.world import UncopyableState

from .batches import Geometry
from .exact_value import trials_needed
from .gradients import RowPattern, row_of
from .histories import make_session
from .readings import Unreadable

_ROWS = (
    RowPattern(norm=10.0),
    RowPattern(norm=1.0),
    RowPattern(norm=0.1),
    RowPattern(kind="negative", norm=10.0),
    RowPattern(kind="spread", norm=1e3),
)
_LOOKS = 12
_SMALLEST_SHARE = 0.25
_TRIALS_WITH = 400
_FIRST_LINES = 8
_SEEDS = 2**32 - 16
"""NumPy's older generators take no larger seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A released tensor (-1: all of them) is, or is not, this value."""

    tensor: int
    value: bytes
    present: bool


class Trials:
    """The first steps of runs on rows of zeros, with and without one row, each with generators and batches of its own."""

    def __init__(self, session: Session, geometry: Geometry, config: RunConfig) -> None:
        self.session, self.geometry, self.config = session, geometry, config
        self.start = session.snapshot()
        self.made = 0
        self._sizes = np.random.default_rng(20_260)

    def release(self, step: int, row: Tensor | None) -> Tensor:
        """The release of ``step`` on D, or on D' where the batch of that step holds the row.

        Raises:
            CandidateError: the mechanism raised.
        """
        session, config = self.session, self.config
        session.restore(self.start)
        session.world.stir(self.start, (7_919 + 1_000_003 * self.made) % _SEEDS)
        self.made += 1
        for earlier in range(step):
            drawn = row is not None and self._sizes.random() < config.sampling_probability
            epoch = config.epoch_of(earlier)
            rows = self._batch(row if drawn else None, without=row is None)
            session.call_unwatched(rows, earlier, epoch)
            session.reported_sigma(earlier, epoch)
        return session.call_unwatched(self._batch(row, without=row is None), step, config.epoch_of(step))

    def _batch(self, row: Tensor | None, *, without: bool) -> list[Tensor]:
        total, session = sum(self.geometry.sizes), self.session
        others = torch.zeros(self._others(holds_row=row is not None, without=without), total, dtype=session.dtype)
        flat = others if row is None else torch.cat([others, row.unsqueeze(0)])
        return self.geometry.tensors(flat, session.dtype)

    def _others(self, *, holds_row: bool, without: bool) -> int:
        """How many rows of zeros the batch holds, beside the row where it does; ``without``: on D."""
        config = self.config
        if config.cell.rows is Rows.CONSTANT:
            return config.batch_size - holds_row
        everyone, q = config.dataset_size - 1, config.sampling_probability
        if config.cell.relation is Relation.ZERO_OUT and without:
            everyone += 1  # the absent row is one of zeros, drawn like the others
        most = config.batch_size - holds_row if config.cell.sampler is Sampler.TRUNCATED_POISSON else everyone
        while True:
            count = int(self._sizes.binomial(everyone, q))
            if count <= most:
                return count
            if not holds_row:
                return most  # the rest is left out; beside the row, batches that leave nobody out are meant

    def happened(self, event: Event, release: Tensor) -> bool:
        """Whether E happened."""
        return (self.part(release, event.tensor) == event.value) is event.present

    def part(self, release: Tensor, tensor: int) -> bytes:
        """A released tensor, or all, as bits; the two zeros are one value."""
        part = release if tensor < 0 else torch.split(release, self.geometry.sizes)[tensor]
        return (part + 0.0).numpy().tobytes()


def count(request: Request) -> dict[str, Any]:
    """Choose a step, a row and an event on a few trials; count it on others.

    Raises:
        CandidateError: the mechanism raised.
        Unreadable: no such event was seen, or time would be up before it was counted often enough.
    """
    deadline = worked() + 0.85 * request.time_limit
    config = request.config
    geometry = Geometry.of(config, [shrink(shape) for shape in config.parameter_shapes])
    session = make_session(request, geometry, torch.float32, request.seed)
    trials = Trials(session, geometry, config)
    for step in range(min(2, config.total_steps)):
        for pattern in _ROWS:
            row = row_of(pattern, geometry.sizes, config.max_grad_norm, session.dtype)
            event = chosen(trials, step, row)
            if event is not None:
                return _counted(trials, event, step, row, pattern, deadline)
    raise Unreadable("no value was released twice with a row or without it, and not in the other case")


def chosen(trials: Trials, step: int, row: Tensor) -> Event | None:
    """The event that sets these trials with the row apart most, if there is one that never happened without it."""
    without = [trials.release(step, None) for _ in range(_LOOKS)]
    with_row = [trials.release(step, row) for _ in range(_LOOKS)]
    if not all(bool(torch.isfinite(release).all()) for release in (*without, *with_row)):
        return None
    found: tuple[float, Event] | None = None
    for tensor in range(-1, len(trials.geometry.sizes)):
        here = Counter(trials.part(release, tensor) for release in without)
        there = Counter(trials.part(release, tensor) for release in with_row)
        (most_here, times_here), (most_there, times_there) = here.most_common(1)[0], there.most_common(1)[0]
        candidates = []
        # Where every release of the other case is one value too, noise from a fixed seed is seen: another rule's business.
        if times_there > 1 and not here[most_there] and len(here) > 1:
            candidates.append((times_there / _LOOKS, Event(tensor=tensor, value=most_there, present=True)))
        if times_here == _LOOKS and len(there) > 1:
            candidates.append((1 - there[most_here] / _LOOKS, Event(tensor=tensor, value=most_here, present=False)))
        for share, event in candidates:
            if share >= _SMALLEST_SHARE and (found is None or share > found[0]):
                found = share, event
    return None if found is None else found[1]


def _counted(
    trials: Trials, event: Event, step: int, row: Tensor, pattern: RowPattern, deadline: float
) -> dict[str, Any]:
    started = worked()
    hits_with = sum(trials.happened(event, trials.release(step, row)) for _ in range(_TRIALS_WITH))
    seconds_each = (worked() - started) / _TRIALS_WITH
    try:
        needed = trials_needed(trials.config, max(0.0, hits_with / _TRIALS_WITH - 0.15))
    except ValueError as error:
        raise Unreadable(str(error)) from error
    left = deadline - worked()
    if needed * seconds_each > left:
        raise Unreadable(f"{needed} releases would have to be counted, {left / seconds_each:.0f} fit into the time")
    line = line_of_event(trials, event, step, row)
    hits = made = 0
    while made < needed and hits < _LOOKS and worked() < deadline:
        hits += trials.happened(event, trials.release(step, None))
        made += 1
    if made < needed and hits < _LOOKS:
        raise Unreadable(
            f"time was up after {made} of {needed} releases"
        )  # when to stop must not hang on what was counted
    value = np.frombuffer(event.value, dtype=np.float64)
    return {
        "failed": "",
        "step": step,
        "tensor": event.tensor,
        "present": event.present,
        "zeros": not value.any(),
        "row": str(pattern),
        "line": line,
        "without": [made, hits],
        "with_row": [_TRIALS_WITH, hits_with],
    }


def line_of_event(trials: Trials, event: Event, step: int, row: Tensor) -> int | None:
    """The first line that runs on D' where E happens and never on D; else the method's own."""
    path = trials.session.candidate.path
    usual: set[int] = set()
    special: set[int] = set()
    for turn in range(2 * _FIRST_LINES):
        lines: set[int] = set()

        def watch(frame: FrameType, what: str, _: Any, lines: set[int] = lines) -> Any:
            if frame.f_code.co_filename != path:
                return None
            if what == "line":
                lines.add(frame.f_lineno)
            return watch

        sys.settrace(watch)
        try:
            release = trials.release(step, row if turn % 2 else None)
        finally:
            sys.settrace(None)
        if not turn % 2:
            usual |= lines
        elif trials.happened(event, release):
            special |= lines
    return min(special - usual, default=trials.session.method_line)


def _examine(request: Request, attempts: Sequence[Attempt], send: Send) -> dict[str, Any]:
    try:
        return count(request)
    except (CandidateError, Unreadable, UncopyableState) as error:
        return {"failed": str(error)}


def main() -> None:
    """Count the releases of the candidate that the request names."""
    serve(_examine)


if __name__ == "__main__":
    main()
