"""Checks of how a mechanism treats its rows: in-place changes, row order, rows of zeros, batches without rows."""

import math

import torch
from torch import Tensor

from dpaudit.contract import PlainData, RunConfig, Severity, Strength
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.problem import Problem
from dpaudit.probe.session import Session
from dpaudit.probe.work_clock import worked

from .batches import Beside, Geometry
from .gradients import RowPattern
from .moments import Moment
from .readings import Reading, Unreadable

_BIG = RowPattern(kind="equal", norm=10.0)
_SHUFFLE_SEED = 5


def input_changed(moment: Moment, beside: Beside) -> Problem | None:
    """Whether the call writes into the gradients that it was given."""
    flat = moment.geometry.with_row(beside, moment.row(_BIG))
    given = moment.batch(flat)
    held, copies = list(given), [tensor.clone() for tensor in given]
    session = moment.session
    session.restore(moment.before)
    torch.set_default_dtype(session.dtype)
    try:
        session.instance.clip_and_noise(given, moment.step, moment.epoch)
    except Exception:
        return None  # a call that raises is judged elsewhere
    rebound = len(given) != len(held) or any(now is not was for now, was in zip(given, held, strict=True))
    written = [index for index, (now, was) in enumerate(zip(held, copies, strict=True)) if not _same(now, was)]
    if not rebound and not written:
        return None
    what = f"tensors {written}" if written else "the list"
    message = f"step {moment.step}: the call changes its input in place ({what} of per_sample_grads)"
    return Problem("DPA210", Severity.MINOR, Strength.PROOF, message, _line_of(moment), {"tensors": [*written]})


def order_matters(moment: Moment, beside: Beside) -> Problem | None:
    """Whether the release changes when the rows are reversed or shuffled, with the same noise."""
    reading = moment.reading(beside)
    flat = moment.geometry.with_row(beside, moment.row(_BIG))
    zeros = torch.zeros_like(reading.nudge)
    forwards = moment.replay(reading.recording, flat, zeros)
    tolerance = 64 * max(reading.tolerance, reading.recording.rounding * float(forwards.abs().max()))
    shuffled = torch.randperm(len(flat), generator=torch.Generator().manual_seed(_SHUFFLE_SEED))
    for words, order in (("in reverse order", torch.arange(len(flat)).flip(0)), ("shuffled", shuffled)):
        gap = float((forwards - moment.replay(reading.recording, flat[order], zeros)).abs().max())
        if gap > tolerance:
            message = (
                f"step {moment.step}: with the same rows {words} and the same noise the release differs by {gap:.3g}"
            )
            return Problem("DPA211", Severity.MINOR, Strength.PROOF, message, reading.line, {"difference": gap})
    return None


def zero_row_counts(moment: Moment, beside: Beside) -> Problem | None:
    """Whether one more row of zeros changes the release, with the same noise. Asked only where rows are sampled.

    To be asked at the first step: a mechanism that is centred on earlier releases moves zeros by right later on.
    """
    reading = moment.reading(beside)
    others = moment.geometry.others(beside).to(moment.session.dtype)
    padded = torch.cat([others, torch.zeros_like(others[:1])])
    zeros = torch.zeros_like(reading.nudge)
    change = moment.replay(reading.recording, padded, zeros) - moment.replay(reading.recording, others, zeros)
    gap = float(change.abs().max())
    if gap <= 16 * max(reading.tolerance, reading.recording.rounding * float(reading.at.abs().max())):
        return None
    message = f"step {moment.step}: one more row of zeros beside {beside} changes the release by {gap:.3g}"
    return Problem("DPA219", Severity.MINOR, Strength.PROOF, message, reading.line, {"difference": gap})


def empty_batch(moment: Moment, config: RunConfig, typical: Beside) -> Problem | None:
    """Whether a batch without rows is released with the same noise as any other. Asked only where rows are sampled."""
    chance = config.total_steps * math.exp(
        max(config.dataset_size - 1, 0) * math.log1p(-min(config.sampling_probability, 1 - 1e-12))
    )
    severity = Severity.MAJOR if chance > config.target_delta / 100 else Severity.MINOR
    evidence: dict[str, PlainData] = {"probability_in_a_run": chance}

    def problem(what: str, line: int | None) -> Problem:
        message = f"step {moment.step}: an empty batch {what} (probability of one in a run: {chance:.2g})"
        return Problem("DPA212", severity, Strength.PROOF, message, line, evidence)

    try:
        usual = moment.reading(typical)
        empty = moment.read(torch.zeros(0, sum(moment.geometry.sizes), dtype=moment.session.dtype))
    except CandidateError as error:
        return problem(f"ends in an exception: {error}", error.line)
    except Unreadable as error:
        return problem(f"is not released as others are: {error}", _line_of(moment))
    bare = _noiseless(empty) & ~_noiseless(usual)
    if bool(bare.any()):
        return problem(f"is released without noise in {int(bare.sum())} of {len(bare)} coordinates", usual.line)
    return None


def visibly_empty_steps(
    session: Session, config: RunConfig, geometry: Geometry, beside: Beside, deadline: float
) -> int:
    """At how many steps of one run an empty batch would be released without noise in some coordinate where others have it.

    The run is on usual batches. At every step the empty batch is released twice from the same state with all generators moved: a
    coordinate that comes out equal holds no noise. Usual batches are released twice as well.

    Raises:
        CandidateError: the mechanism raised.
    """
    empty = geometry.tensors(torch.zeros(0, sum(geometry.sizes), dtype=session.dtype), session.dtype)
    usual = geometry.tensors(geometry.others(beside).to(session.dtype), session.dtype)
    shown = 0
    for step in range(config.total_steps):
        if worked() > deadline:
            break
        before, epoch = session.snapshot(), config.epoch_of(step)
        releases = []
        for place, rows in enumerate((empty, empty, usual, usual)):
            session.restore(before)
            session.world.stir(before, 15_485_863 * (step + 1) + 32_452_843 * place)
            releases.append(session.call_unwatched(rows, step, epoch))
            session.reported_sigma(step, epoch)
        still, moving = releases[0] == releases[1], releases[2] != releases[3]
        shown += bool((still & moving).any())
    return shown


def _noiseless(reading: Reading) -> Tensor:
    """Which released coordinates carry no noise."""
    moved = torch.zeros(reading.at.numel(), dtype=torch.bool)
    for unit in torch.eye(reading.latents, dtype=torch.float64):
        moved |= reading.noise.apply(unit).abs() > reading.tolerance
    return ~moved


def _line_of(moment: Moment) -> int | None:
    code = getattr(type(moment.session.instance).clip_and_noise, "__code__", None)
    return getattr(code, "co_firstlineno", None)


def _same(now: Tensor, was: Tensor) -> bool:
    return now.shape == was.shape and torch.equal(torch.nan_to_num(now), torch.nan_to_num(was))
