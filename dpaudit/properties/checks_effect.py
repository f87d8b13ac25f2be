"""Parts of a mechanism that are computed and thrown away: a declared mechanism must have an effect on the update."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpaudit.contract import Severity, Strength
from dpaudit.probe.hidden_state import differing
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.problem import Problem
from dpaudit.probe.world import Snapshot

from .batches import Beside
from .gradients import RowPattern
from .moments import Moment
from .readings import Reading

_INTERFACE = {"clip_and_noise", "get_effective_sigma", "privacy_events"}
_ROW = RowPattern(kind="spread", norm=10.0)
_STATE_TOLERANCE = 1e-12


def no_effect(moments: Sequence[Moment], beside: Beside) -> Iterator[Problem]:
    """Noise that is drawn in vain, and methods whose results change nothing, at every one of these moments.

    Raises:
        Unreadable: a moment cannot be read.
        CandidateError: the mechanism raised.
    """
    first = moments[0]
    reading = first.reading(beside)
    idle = _idle_draw(first, reading, _flat(first, beside))
    if idle is not None:
        yield idle
    for name, line in _methods(first.session.instance):
        if all(_is_idle(moment, moment.reading(beside), _flat(moment, beside), name) for moment in moments):
            message = (
                f"the method {name} runs in every step looked at, but whatever it returns or writes changes neither the "
                "release nor any state: it has no effect on the update"
            )
            yield Problem("DPA215", Severity.MINOR, Strength.HEURISTIC, message, line, {"method": name})


def _flat(moment: Moment, beside: Beside) -> Tensor:
    return moment.geometry.with_row(beside, moment.row(_ROW))


def _idle_draw(moment: Moment, reading: Reading, flat: Tensor) -> Problem | None:
    """Gaussian numbers that reach neither the release nor anything that is kept."""
    session, zeros = moment.session, torch.zeros_like(reading.nudge)
    for draw in reading.recording.draws:
        own = torch.zeros_like(zeros)
        own[draw.offset : draw.offset + draw.numel] = reading.nudge[draw.offset : draw.offset + draw.numel]
        if not draw.numel or bool((reading.noise.apply(own).abs() > reading.tolerance).any()):
            continue
        here = moment.release_on(reading.recording, flat, zeros)
        without = session.snapshot()
        there = moment.release_on(reading.recording, flat, own)
        same = bool(((there - here).abs() <= reading.recording.rounding * here.abs().max()).all())
        if same and not differing(without, session.snapshot(), _STATE_TOLERANCE):
            message = f"step {moment.step}: {draw.numel} Gaussian numbers are drawn, and reach neither the release nor any state"
            return Problem("DPA215", Severity.MINOR, Strength.PROOF, message, draw.line, {"numbers": draw.numel})
    return None


@dataclass(slots=True)
class _Outcome:
    """A call in which one method was replaced: was it called, could it be spoiled, and what came out."""

    release: Tensor
    state: Snapshot
    called: bool
    spoiled: bool


def _is_idle(moment: Moment, reading: Reading, flat: Tensor, name: str) -> bool:
    """Whether a method is called, and spoiling all that it returns and writes changes nothing."""
    plain = _call(moment, reading, flat, name, spoil=False)
    if plain is None or not plain.called:
        return False
    spoiled = _call(moment, reading, flat, name, spoil=True)
    if spoiled is None or not spoiled.spoiled:
        return False
    tolerance = 4 * reading.recording.rounding * float(plain.release.abs().max())
    same = bool(((spoiled.release - plain.release).abs() <= tolerance).all())
    return same and not differing(plain.state, spoiled.state, _STATE_TOLERANCE)


def _call(moment: Moment, reading: Reading, flat: Tensor, name: str, *, spoil: bool) -> _Outcome | None:
    """One replay with the method replaced; ``None`` if it fails."""
    session = moment.session
    instance = session.instance
    session.restore(moment.before)
    spoiler = _Spoiler(getattr(instance, name), spoil)
    try:
        instance.__dict__[name] = spoiler.stand_in
        run = session.call(
            moment.batch(flat), moment.step, moment.epoch, replay=reading.recording, latents=reading.nudge
        )
    except CandidateError:
        return None
    finally:
        instance.__dict__.pop(name, None)
    return None if run.diverged else _Outcome(run.release, session.snapshot(), spoiler.called, spoiler.spoiled)


class _Spoiler:
    """Stands in for a method: calls it, undoes what it wrote into its arguments, and changes what it returned."""

    def __init__(self, original: Any, spoil: bool) -> None:
        self.original = original
        self.spoil = spoil
        self.called = False
        self.spoiled = False

    def stand_in(self, *args: Any, **kwargs: Any) -> Any:
        self.called = True
        if not self.spoil:
            return self.original(*args, **kwargs)
        tensors = [(tensor, tensor.clone()) for tensor in _tensors((args, kwargs))]
        lists = [(value, list(value)) for value in (*args, *kwargs.values()) if isinstance(value, list)]
        result = self.original(*args, **kwargs)
        with torch.no_grad():
            for tensor, was in tensors:
                if not torch.equal(tensor, was):
                    self.spoiled = True
                    tensor.copy_(was)
        for value, held in lists:
            if any(now is not before for now, before in zip(value, held, strict=False)) or len(value) != len(held):
                self.spoiled = True
                value[:] = held
        return self._changed(result)

    def _changed(self, value: Any) -> Any:
        """Another value of the same kind, where there is one."""
        if (isinstance(value, Tensor) and value.is_floating_point()) or type(value) is float:
            self.spoiled = True
            return value * 1.5 + 0.25
        if type(value) in {list, tuple}:
            return type(value)(map(self._changed, value))
        if type(value) is dict:
            return {key: self._changed(item) for key, item in value.items()}
        return value


def _methods(instance: Any) -> list[tuple[str, int]]:
    """The candidate's own helper methods, with their lines."""
    found: dict[str, int] = {}
    for cls in type(instance).__mro__:
        if cls.__module__ != type(instance).__module__ or not hasattr(instance, "__dict__"):
            continue
        for name, item in vars(cls).items():
            code = getattr(getattr(item, "__func__", item), "__code__", None)
            if code is None or name.startswith("__") or name in _INTERFACE or name in instance.__dict__:
                continue
            found.setdefault(name, code.co_firstlineno)
    return list(found.items())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
