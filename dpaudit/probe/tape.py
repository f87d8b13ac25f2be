"""The tape: every random draw of one call, as latents that can be read, set and compared.

A Gaussian draw becomes a latent z with value mean + std * z. Its identity is the state of the generator at the draw, so
noise that is reseeded or drawn again from the same state is seen as the SAME latent. Any other draw is a public coin:
the generators are restored before each replay, so it comes out as before, and earns no credit.

Torch is watched by a dispatch mode keyed on the tag ``nondeterministic_seeded``; numpy, ``random`` and ``os.urandom``
through :mod:`dpaudit.probe.python_draws`. Randomness that escapes both is found by the callers: they replay with every
generator moved, and compare.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .gaussian_moments import flat, is_standard, moments_of, same_moment, standardise

EXACT = 1e-9
ROUNDING = {torch.float32: 3e-6, torch.complex64: 3e-6, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Relative rounding that a release may show for the lowest precision seen in a call; float64 alone: ``EXACT``."""

_PLAIN, _COIN, _GAUSSIAN = 0, 1, 2
_GAUSSIAN_OPS = {"randn", "randn_like", "normal", "normal_", "normal_functional"}


@dataclass(slots=True)
class Draw:
    """One Gaussian draw: where its latents lie in the recording's vector, and where in the source it was made."""

    identity: int
    numel: int
    line: int | None
    raw: Tensor | None = None
    mean: Any = 0.0
    std: Any = 1.0
    offset: int = 0


@dataclass(slots=True)
class Recording:
    """The Gaussian draws of one call, in order. ``latents`` holds each identity once (float64).

    ``rounding`` is the relative error to allow for; ``coins`` counts the other draws that were seen.
    ``plain``: every draw of torch went through the wrappers of :mod:`dpaudit.probe.torch_draws`.
    ``half``, ``half_line``: precision and line of the first Gaussian draw in half precision.
    """

    draws: list[Draw] = field(default_factory=list)
    latents: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64))
    coins: int = 0
    coin_line: int | None = None
    rounding: float = EXACT
    plain: bool = True
    half_line: int | None = None
    half: torch.dtype | None = None

    def moved(self, latents: Tensor) -> "Recording":
        """The same draws with other latents."""
        return replace(self, latents=latents, draws=[replace(draw, raw=None) for draw in self.draws])

    def shared(self) -> Draw | None:
        """The first draw whose latents another draw of the same call has used before."""
        seen: set[int] = set()
        for draw in self.draws:
            if draw.identity in seen and draw.numel:
                return draw
            seen.add(draw.identity)
        return None


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches one call. Use a new one for each.

    Args:
        path: file name of the candidate, to find the line of a draw.
        replay: give the draws of this recording again, in order; ``None`` records.
        latents: values for the replayed latents; ``None`` gives the recorded draws bit for bit.

    ``repeated`` is the first replayed draw made from the same generator state as the recorded one.
    """

    def __init__(self, path: str, *, replay: Recording | None = None, latents: Tensor | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.replay = replay
        self.latents = latents
        self.identify = replay is None
        self.recording = Recording()
        self.diverged = False
        self.repeated: int | None = None
        self.fault: Exception | None = None
        self.watching = False
        self.wrapped: list[int] = []
        self._seen_in_torch: list[int] = []
        self._standard: list[Tensor] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # wrapping for the compiler costs seconds at start and half of the time of every operation

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kind = _KINDS.get(func)
        if kind is None:
            kind = _KINDS[func] = _kind(func)
        if kind == _PLAIN:
            out = func(*args, **kwargs) if kwargs else func(*args)
            if type(out) is Tensor and out.dtype in ROUNDING:
                self.recording.rounding = max(self.recording.rounding, ROUNDING[out.dtype])
            return out
        kwargs = kwargs or {}
        if kind == _COIN:
            self.note_coin()
            return func(*args, **kwargs)
        identity = identity_of(generator_of(args, kwargs)) if self.identify else 0
        mean, std = moments_of(func, args, kwargs)
        out = func(*args, **kwargs)
        if out.device.type == "meta":
            return out
        values = self.gaussian(identity, out, mean, std)
        if values is not None:
            out.copy_(values.view(out.shape))
        self._seen_in_torch.append(out.numel())
        self.recording.rounding = max(self.recording.rounding, ROUNDING.get(out.dtype, EXACT))
        return out

    def note_coin(self) -> None:
        """A draw that is not Gaussian was made."""
        self.recording.coins += 1
        if self.recording.coin_line is None:
            self.recording.coin_line = self.line()

    def gaussian(self, identity: int, drawn: Tensor, mean: Any, std: Any) -> Tensor | None:
        """Record a draw, or give the values that replace it (flat); ``None`` leaves it as drawn."""
        try:
            return self._gaussian(identity, drawn, mean, std)
        except Exception as error:
            self.fault = error  # the candidate must not be blamed for it
            raise

    def _gaussian(self, identity: int, drawn: Tensor, mean: Any, std: Any) -> Tensor | None:
        index = len(self.recording.draws)
        draw = Draw(identity=identity, numel=drawn.numel(), line=None)
        if drawn.dtype in {torch.float16, torch.bfloat16} and self.recording.half is None and drawn.numel():
            self.recording.half, self.recording.half_line = drawn.dtype, self.line()
        self.recording.draws.append(draw)
        if self.replay is None:
            draw.line = self.line()
            draw.raw, draw.mean, draw.std = drawn.detach().reshape(-1).clone(), mean, std
            standard = is_standard(mean, std) and drawn.dtype == torch.float64
            self._standard.append(draw.raw if standard else standardise(drawn, mean, std))
            return None
        if index >= len(self.replay.draws) or self.replay.draws[index].numel != draw.numel:
            self.diverged = True
            return None
        model = self.replay.draws[index]
        draw.line, draw.offset = model.line, model.offset
        if self.identify and identity == model.identity and draw.numel and self.repeated is None:
            self.repeated = index
        latents = self.latents
        if latents is None:
            if model.raw is not None and same_moment(mean, model.mean) and same_moment(std, model.std):
                return model.raw  # bit for bit
            latents = self.replay.latents
        z = latents[model.offset : model.offset + model.numel]
        if is_standard(mean, std):
            return z
        values: Tensor = flat(mean, drawn) + flat(std, drawn) * z
        return values

    def finish(self) -> Recording:
        """Lay out the latents: draws of one identity share them, a shorter draw taking a prefix of a longer one."""
        recording = self.recording
        recording.plain = self.wrapped == self._seen_in_torch
        if self.replay is not None:
            self.diverged |= len(recording.draws) != len(self.replay.draws)
            recording.latents = self.replay.latents if self.latents is None else self.latents
            return recording
        longest: dict[int, tuple[int, Tensor]] = {}
        for draw, z in zip(recording.draws, self._standard, strict=True):
            if draw.identity not in longest or longest[draw.identity][1].numel() < draw.numel:
                longest[draw.identity] = (0, z)
        offset = 0
        for identity, (_, z) in longest.items():
            longest[identity] = (offset, z)
            offset += z.numel()
        for draw in recording.draws:
            draw.offset = longest[draw.identity][0]
        if longest:
            recording.latents = torch.cat([z for _, z in longest.values()])
        return recording

    def line(self) -> int | None:
        """Line of the innermost frame of the candidate."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename == self.path:
                return frame.f_lineno
            frame = frame.f_back
        return None


_KINDS: dict[Any, int] = {}


def _kind(func: Any) -> int:
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return _PLAIN
    return _GAUSSIAN if func._schema.name.split("::")[1] in _GAUSSIAN_OPS else _COIN


def generator_of(args: Any, kwargs: Any) -> torch.Generator:
    """The generator that a draw takes from: the one it is given, else its device's own."""
    given = kwargs.get("generator")
    if given is not None:
        return given  # type: ignore[no-any-return]
    named = kwargs.get("device")
    tensor = next((value for value in args if isinstance(value, Tensor)), None)
    device = torch.device(named) if named is not None else None if tensor is None else tensor.device
    if device is None:
        device = torch.get_default_device()
    if device.type != "cuda":
        return torch.default_generator
    index = torch.cuda.current_device() if device.index is None else device.index
    generator: torch.Generator = torch.cuda.default_generators[index]
    return generator


def identity_of(generator: torch.Generator) -> int:
    """The state of a torch generator, as the identity of what it draws next."""
    return hash(generator.get_state().numpy().tobytes())


def active() -> Tape | None:
    """The tape of the call in progress, for draws outside torch."""
    return _ACTIVE[-1] if _ACTIVE else None


_ACTIVE: list[Tape] = []


def run(tape: Tape, call: Callable[[], Any], *, watch: bool = True) -> Any:
    """Make one call under a tape; with ``watch`` every torch operation is seen, else only wrapped draws."""
    _ACTIVE.append(tape)
    tape.watching = watch
    try:
        if not watch:
            return call()
        with tape:
            return call()
    finally:
        _ACTIVE.pop()
