"""The values that a release can take at all, where the noise in it is held in half precision.

Notation: z a Gaussian latent of the tape, v = mean + spread z the noise as it is added, rounded to one of the at most 65,536
values of a format; f(v) the release of a coordinate on D, f'(v) on D', T the set of all f(v).

Every value is given to the coordinates of one tensor by replay, at the run's own shapes. That makes a table of f and one of f'.
What is made of them is :mod:`.support_event`'s business, in a process that never ran the candidate.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dpaudit.contract import RunConfig
from dpaudit.probe.tape import Recording
from dpaudit.probe.work_clock import worked

from .batches import Beside
from .moments import Moment
from .readings import Unreadable
from .rounded_noise import Rounded, largest_tensor, rounded_noise, values_of, zeros_beside

_LANES = 32
"""Coordinates beyond the last multiple of this are left out: their arithmetic may be that of a loop's remainder."""

_MOST_COORDINATES = 65_536
_NORMS = (0.917, 1.618, 0.371, 7.713)
"""Norms of the row tried, in multiples of C: any generic number will do."""

_NEAR = 9.0
_OTHER_CALLS = 4
_UNWATCHED_CALLS, _UNWATCHED_VALUES = 200, 40_000


@dataclass(slots=True)
class Tables:
    """What one tensor released.

    Attributes:
        tensor, coordinates: which tensor, and how many of its first coordinates.
        without, with_row: f and f' by value, in the order of :func:`values_of`.
        row_norm: of the row on D', all of it in this tensor, in multiples of C.
        unwatched: values released by calls that draw for themselves, on D and on D', and how many of them are not in T.
    """

    rounded: Rounded
    tensor: int
    coordinates: int
    without: Tensor
    with_row: Tensor
    row_norm: float
    unwatched: tuple[tuple[int, int], tuple[int, int]]


def tabulate(moment: Moment, beside: Beside, config: RunConfig, deadline: float) -> Tables:
    """Both tables at the moment's state.

    Guarantee: in all calls that were made, a released coordinate of the tensor depends on its own value v alone, in the same way
    at every coordinate, beside every number of zero rows that was tried, whatever the other latents are; and calls without a tape
    on D released nothing outside T.

    Raises:
        CandidateError: the mechanism raised.
        Unreadable: one of these does not hold, or time was up.
    """
    flat = zeros_beside(moment, beside)
    moment.session.restore(moment.before)
    recording = moment.session.call(moment.batch(flat), moment.step, moment.epoch, watch=True).recording
    if recording.coins:
        raise Unreadable("randomness that is not Gaussian is drawn too")
    rounded = rounded_noise(moment, recording, beside, config)
    if rounded is None:
        raise Unreadable("the noise of the largest tensor is not held in half precision before it is added")
    tabler = _Tabler(moment, recording, rounded, deadline)
    without = tabler.table(flat, 0)
    tabler.confirm(flat, without, _whole_turns(tabler))
    for count in moment.geometry.counts():
        tabler.confirm(zeros_beside(moment, Beside(count=count)), without, _OTHER_CALLS)
    norm, with_row = _generic(tabler, beside, config, without)
    there = moment.geometry.with_row(beside, tabler.row(norm * config.max_grad_norm))
    tabler.confirm(there, with_row, _whole_turns(tabler))
    support = torch.unique(without)
    unwatched = (tabler.unwatched(_cycle(moment), support), tabler.unwatched(_forever(there), support))
    return Tables(rounded, tabler.tensor, tabler.count, without, with_row, norm, unwatched)


class _Tabler:
    """Replays of one recording with chosen values in the tensor's coordinates and random latents everywhere else."""

    def __init__(self, moment: Moment, recording: Recording, rounded: Rounded, deadline: float) -> None:
        self.moment, self.recording, self.rounded, self.deadline = moment, recording, rounded, deadline
        self.values = values_of(rounded.dtype)
        self.tensor = largest_tensor(moment)
        size = moment.geometry.sizes[self.tensor]
        self.count = min(size if size < _LANES else size - size % _LANES, _MOST_COORDINATES)
        self.start = sum(moment.geometry.sizes[: self.tensor])
        self._generator = torch.Generator().manual_seed(41)

    def row(self, norm: float) -> Tensor:
        """A row that has the same number in every coordinate of the tensor, and zeros elsewhere."""
        sizes = self.moment.geometry.sizes
        row = torch.zeros(sum(sizes), dtype=self.moment.session.dtype)
        row[self.start : self.start + sizes[self.tensor]] = norm / sizes[self.tensor] ** 0.5
        return row

    def release(self, flat: Tensor, which: Tensor) -> Tensor:
        """The tensor's coordinates when coordinate j is given the value number ``which[j]``."""
        if worked() > self.deadline:
            raise Unreadable("time was up before every value was tried")
        latents = torch.randn(self.recording.latents.numel(), generator=self._generator, dtype=torch.float64)
        at, rounded = self.rounded.offset, self.rounded
        latents[at : at + self.count] = (self.values[which] - rounded.mean) / rounded.spread
        out = self.moment.release_on(self.recording, flat, latents)[self.start : self.start + self.count]
        if bool(torch.isnan(out).any()):
            raise Unreadable("a value of the noise makes the release NaN")
        return out

    def table(self, flat: Tensor, shift: int) -> Tensor:
        """The release by value: every value once, at whichever coordinate its turn comes."""
        table = torch.full_like(self.values, torch.nan)
        for first in range(0, len(self.values), self.count):
            which = (torch.arange(self.count) + first + shift) % len(self.values)
            table[which] = self.release(flat, which)
        return table

    def confirm(self, flat: Tensor, table: Tensor, calls: int) -> None:
        """Calls with values at other coordinates, and other latents elsewhere, release what the table says."""
        for _ in range(calls):
            which = torch.randint(0, len(self.values), (self.count,), generator=self._generator)
            if not torch.equal(self.release(flat, which), table[which]):
                raise Unreadable("a coordinate's release is no function of its own noise alone, the same for all")

    def unwatched(self, batches: Iterator[Tensor], support: Tensor) -> tuple[int, int]:
        """How many values calls without a tape released, each with generators of its own, and how many are not in T."""
        session, seen, outside = self.moment.session, 0, 0
        for call in range(_UNWATCHED_CALLS):
            session.restore(self.moment.before)
            session.world.stir(self.moment.before, 15_485_863 + 104_729 * call)
            batch = self.moment.batch(next(batches))
            out = session.call_unwatched(batch, self.moment.step, self.moment.epoch)
            out = out[self.start : self.start + self.count]
            seen, outside = seen + len(out), outside + int((~torch.isin(out, support)).sum())
            if seen >= _UNWATCHED_VALUES:
                break
        return seen, outside


def _generic(tabler: _Tabler, beside: Beside, config: RunConfig, without: Tensor) -> tuple[float, Tensor]:
    """The row, of those tried, whose releases are most seldom ones of D."""
    near = (tabler.values - tabler.rounded.mean).abs() <= _NEAR * abs(tabler.rounded.spread)
    best: tuple[int, float, Tensor] | None = None
    for norm in _NORMS:
        flat = tabler.moment.geometry.with_row(beside, tabler.row(norm * config.max_grad_norm))
        table = tabler.table(flat, 0)
        hits = int((torch.isin(table, without) & near).sum())
        if best is None or hits < best[0]:
            best = hits, norm, table
        if not hits:
            break
    assert best is not None
    return best[1], best[2]


def _whole_turns(tabler: _Tabler) -> int:
    """Calls that give about as many values as there are, at most 256."""
    return min(256, -(-len(tabler.values) // tabler.count))


def _forever(flat: Tensor) -> Iterator[Tensor]:
    while True:
        yield flat


def _cycle(moment: Moment) -> Iterator[Tensor]:
    batches = [zeros_beside(moment, Beside(count=count)) for count in moment.geometry.counts()]
    while True:
        yield from batches
