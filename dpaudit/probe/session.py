"""One mechanism object, called under the tape at one set of shapes."""

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .loading import Candidate, CandidateError, describe, line_of
from .tape import EXACT, ROUNDING, Recording, Tape, run
from .trace import Tracer, TraceTooLarge
from .world import Snapshot, World

HALF = 1e-3
"""Relative rounding from which a release has seen half precision."""

Rows = list[Tensor]
"""Per-sample gradients: one tensor ``[rows, *shape]`` for each parameter."""


@dataclass(frozen=True, slots=True)
class Constructor:
    """The public numbers that a mechanism's constructor gets."""

    max_grad_norm: float
    noise_multiplier: float
    n_params: int
    dataset_size: int
    batch_size: int
    epochs: int
    target_epsilon: float
    target_delta: float


@dataclass(slots=True)
class Run:
    """One call: the release (flat, float64), the draws, and whether the draws matched those replayed."""

    release: Tensor
    recording: Recording
    diverged: bool
    repeated: int | None


class Session:
    """A mechanism object with its world.

    Args:
        candidate: the loaded class.
        constructor: what its constructor gets.
        shapes: shapes of the parameters as this session shrinks them.
        dtype: of the gradients; also torch's default while the candidate runs.
        seed: of torch's default generator.
    """

    def __init__(
        self,
        candidate: Candidate,
        constructor: Constructor,
        shapes: Sequence[tuple[int, ...]],
        *,
        dtype: torch.dtype,
        seed: int,
    ) -> None:
        self.candidate = candidate
        self.shapes = tuple(shapes)
        self.dtype = dtype
        self.rounding = EXACT if dtype == torch.float64 else ROUNDING[dtype]
        self.watch_always = False
        self._asked = False
        torch.manual_seed(seed)
        torch.set_default_dtype(dtype)
        c = constructor
        try:
            instance = candidate.cls(
                c.max_grad_norm, c.noise_multiplier, c.n_params, c.dataset_size, c.batch_size, c.epochs,
                c.target_epsilon, c.target_delta,
            )  # fmt: skip
        except BaseException as error:
            raise _raised(error, candidate.path, "the constructor") from error
        self.instance: Any = instance
        self.world = World(instance, candidate.namespace, candidate.provided, candidate.draws_outside_torch)

    def snapshot(self) -> Snapshot:
        """Save the mechanism's world."""
        return self.world.snapshot()

    def restore(self, snapshot: Snapshot) -> None:
        """Put the mechanism's world back."""
        self.world.restore(snapshot)

    def call(
        self,
        rows: Rows,
        step: int,
        epoch: int,
        *,
        replay: Recording | None = None,
        latents: Tensor | None = None,
        watch: bool = False,
        identify: bool = False,
        tracer: Tracer | None = None,
    ) -> Run:
        """``clip_and_noise`` once, from the world as it is; ``watch`` sees every operation, at a price;
        ``identify`` compares the generators' states with those recorded; ``tracer`` records what operations take in.

        Raises:
            CandidateError: it raised, or its release is malformed.
        """
        torch.set_default_dtype(self.dtype)
        watch = watch or self.watch_always
        copies = [tensor.clone() for tensor in rows]
        before = self.snapshot() if watch and replay is None and not self._asked else None
        tape = Tape(self.candidate.path, replay=replay, latents=latents)
        tape.identify |= identify
        try:
            released = self._guarded(
                lambda: run(tape, lambda: self._step(copies, step, epoch, tracer), watch=watch),
                f"step {step}: clip_and_noise",
            )
        finally:
            if tape.fault is not None:
                raise RuntimeError(f"the tape failed: {tape.fault!r}") from tape.fault
        recording = tape.finish()
        if watch:
            self.watch_always |= not recording.plain
            if (
                recording.rounding >= HALF
                and before is not None
                and self._is_exact(before, rows, step, epoch, recording)
            ):
                recording.rounding = ROUNDING[torch.float32]
            if not self._asked:
                self.rounding = max(self.rounding, recording.rounding)
        recording.rounding = self.rounding
        return Run(self.flatten(released, step), recording, tape.diverged, tape.repeated)

    def _is_exact(self, before: Snapshot, rows: Rows, step: int, epoch: int, recording: Recording) -> bool:
        """Whether half precision was only seen before the noise: the release follows its latents at float32's precision.

        Then what it rounds is part of what a row contributes, and is read as exactly as anything else. Had it rounded the noise
        or the sum, second differences of the release in its latents would not vanish.
        """
        count, after = recording.latents.numel(), self.snapshot()
        if not count:
            return False
        zero = torch.zeros(count, dtype=torch.float64)
        uneven = 0.6 + 0.8 * torch.frac(torch.arange(count, dtype=torch.float64) * 0.6180339887)
        self._asked = True
        try:
            seen = []
            for factor in (0.0, 1.0, -1.0, 3.0, 7.1):
                self.restore(before)
                run = self.call(rows, step, epoch, replay=recording, latents=zero + factor * uneven)
                if run.diverged:
                    return False
                seen.append(run.release)
        except CandidateError:
            return False
        finally:
            self._asked = False
            self.restore(after)
        base, slope = seen[0], (seen[1] - seen[2]) / 2
        allowed = 16 * ROUNDING[torch.float32] * max(float(base.abs().max()), float(seen[4].abs().max()))
        gaps = [
            (there - base - factor * slope).abs().max()
            for there, factor in zip(seen[1:], (1.0, -1.0, 3.0, 7.1), strict=True)
        ]
        return bool(torch.stack(gaps).max() <= allowed)

    def _step(self, rows: Rows, step: int, epoch: int, tracer: Tracer | None) -> Any:
        if tracer is None:
            return self.instance.clip_and_noise(rows, step, epoch)
        with tracer:
            return self.instance.clip_and_noise(rows, step, epoch)

    def call_unwatched(self, rows: Rows, step: int, epoch: int, *, tracer: Tracer | None = None) -> Tensor:
        """``clip_and_noise`` once, without a tape."""
        torch.set_default_dtype(self.dtype)
        copies = [tensor.clone() for tensor in rows]
        released = self._guarded(lambda: self._step(copies, step, epoch, tracer), f"step {step}: clip_and_noise")
        return self.flatten(released, step)

    def reported_sigma(self, step: int, epoch: int) -> float:
        """``get_effective_sigma`` as a float.

        Raises:
            CandidateError: DPA015 unless it gives a finite number >= 0.
        """
        path = self.candidate.path
        method = getattr(self.instance, "get_effective_sigma", None)
        line = getattr(getattr(method, "__code__", None), "co_firstlineno", None)
        if not callable(method):
            raise CandidateError("DPA015", "the class has no method get_effective_sigma(step, epoch)")
        try:
            value = method(step, epoch)
        except BaseException as error:
            if not isinstance(error, Exception):
                raise _raised(error, path, f"step {step}: get_effective_sigma") from error
            raise CandidateError(
                "DPA015", f"step {step}: get_effective_sigma raised {describe(error)}", line_of(error, path)
            ) from error
        if isinstance(value, Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise CandidateError(
                "DPA015", f"step {step}: get_effective_sigma returned {_brief(value)}, expected a number >= 0", line
            )
        sigma = float(value)
        if not (sigma >= 0 and math.isfinite(sigma)):
            raise CandidateError(
                "DPA015", f"step {step}: get_effective_sigma returned {sigma!r}, expected a finite number >= 0", line
            )
        return sigma

    @property
    def method_line(self) -> int | None:
        """Where ``clip_and_noise`` begins."""
        method = getattr(self.candidate.cls, "clip_and_noise", None)
        line = getattr(getattr(method, "__code__", None), "co_firstlineno", None)
        return line if isinstance(line, int) else None

    def flatten(self, released: Any, step: int) -> Tensor:
        """Check a release and lay it out flat.

        Raises:
            CandidateError: DPA014 with what is wrong.
        """
        problem = _malformed(released, self.shapes)
        if problem:
            raise CandidateError("DPA014", f"step {step}: the released update {problem}", self.method_line)
        with torch.no_grad():
            return torch.cat([tensor.detach().to(torch.float64).reshape(-1) for tensor in released])

    def _guarded(self, call: Callable[[], Any], where: str) -> Any:
        try:
            return call()
        except BaseException as error:
            raise _raised(error, self.candidate.path, where) from error


def is_finite(release: Tensor) -> bool:
    """Whether every coordinate is finite."""
    return bool(torch.isfinite(release).all())


def _malformed(released: Any, shapes: tuple[tuple[int, ...], ...]) -> str:
    if not isinstance(released, list | tuple):
        return f"is a {type(released).__name__}, expected a list of {len(shapes)} tensors"
    if len(released) != len(shapes):
        return f"has {len(released)} tensors, expected {len(shapes)}, one for each parameter"
    for index, (tensor, shape) in enumerate(zip(released, shapes, strict=True)):
        if not isinstance(tensor, Tensor):
            return f"has a {type(tensor).__name__} at position {index}, expected a tensor"
        if tuple(tensor.shape) != shape:
            return f"has shape {tuple(tensor.shape)} at position {index}, expected {shape}"
        if not tensor.dtype.is_floating_point:
            return f"has dtype {tensor.dtype} at position {index}, expected a floating-point type"
        if tensor.layout != torch.strided:
            return f"has layout {tensor.layout} at position {index}, expected a dense tensor"
    return ""


def _raised(error: BaseException, path: str, where: str) -> CandidateError:
    if isinstance(error, CandidateError):
        return error
    if isinstance(error, TraceTooLarge):
        raise error
    line = line_of(error, path)
    if not isinstance(error, Exception):
        return CandidateError("DPA013", f"{where} tried to end the process ({describe(error)})", line)
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return CandidateError("DPA013", f"{where} exceeded the memory limit ({describe(error)})", line)
    return CandidateError("DPA012", f"{where} raised {describe(error)}", line)


def _brief(value: Any) -> str:
    text = repr(value) if isinstance(value, str | int | float | type(None) | bool) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."
