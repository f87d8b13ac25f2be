"""Post-processing that is not affine: read the noise where it is added, and confirm at the output.

Signs, top-k, rounding, clamps and medians of a Gaussian release are free, yet what leaves the step is no affine function
of the latents. The step is then coupled further inside: at the last values that are affine in the latents, moved by the
data, and used otherwise than linearly (:func:`dpaudit.probe.inside.inlets`), together with those released tensors that are
still affine. The latents are shifted until these values are on D' what they are on D. That nothing passes beside them is
confirmed, not assumed: with the shifted latents, and again from moved ones, the whole release of D' must be that of D.

What is read is the noise multiplier of the inner values, as if they were released. Post-processing only loses information,
so no lower end of epsilon follows from it: a sign may hide most of what the inner value shows. It would follow if the
post-processing were invertible, which running it cannot establish.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .coupling import NUDGES, Coupled, Reader, StepState
from .inside import BOTH_WAYS, Inside, Look, inside_of
from .noise_map import Diagonal, NoiseMap
from .session import Rows
from .trace import Trace, Tracer, TraceTooLarge

_JITTERS = 12
_FEW = 0.02


@dataclass(frozen=True, slots=True)
class Sight:
    """One run seen from inside: the inner values (flat), and the release."""

    inner: Tensor
    release: Tensor


def find_inside(reader: Reader, state: StepState, *, sinks: bool = False) -> Inside | None:
    """The inner values of a step, or ``None`` if it has none that could carry its noise.

    ``sinks``: also what no operation of torch takes in, as it may go on in NumPy or in plain Python.
    """
    z = state.recording.latents
    if not z.numel():
        return None
    nudge = reader.nudge(z.numel())
    try:
        here = _traced(reader, state, state.base, None)
        runs = [_traced(reader, state, state.base, z + factor * nudge) for factor in BOTH_WAYS]
        there = _traced(reader, state, state.other, None)
    except TraceTooLarge:
        return None
    return inside_of(here, runs, BOTH_WAYS, there, reader.neighbours.sizes, state.recording.rounding, sinks=sinks)


def couple_inside(reader: Reader, state: StepState, inside: Inside) -> Coupled | None:
    """Couple the inner values; ``matched`` if D' then releases, wholly, what D did. ``None`` if they cannot be seen.

    Raises:
        DrawsDiffer: D' draws other random numbers than D.
    """
    z = state.recording.latents
    at = look(reader, state, inside, state.base)
    nudge = reader.nudge(z.numel()) * NUDGES[state.step % len(NUDGES)]
    second = look(reader, state, inside, state.base, z + nudge)
    other = look(reader, state, inside, state.other)
    if at is None or second is None or other is None:
        return None
    tolerance = tolerance_of(state, at.inner, second.inner, other.inner)
    noise = _read_map(reader, state, inside, at, second, nudge, tolerance)
    if noise is None:
        return None
    change = other.inner - at.inner
    shift, mu = _shift(state, inside, noise, change, (at, other), tolerance)
    coupled = Coupled(noise, change, shift, mu, False, None, tolerance)
    if not math.isfinite(mu):
        return coupled
    third = look(reader, state, inside, state.other, z + shift)
    reader.report(state.step, state.epoch)
    coupled.after = reader.session.snapshot()
    fourth = look(reader, state, inside, state.other, z + shift + nudge)
    coupled.matched = releases_equal(reader, state, inside, at, third, z) and releases_equal(
        reader, state, inside, second, fourth, z + nudge
    )
    return coupled


def _shift(
    state: StepState, inside: Inside, noise: NoiseMap, change: Tensor, seen: Sequence[Sight], tolerance: float
) -> tuple[Tensor, float]:
    """The shift that undoes a change. Where each value has its own latent, each inlet and tensor has a rounding of its own.

    A count beside a mean of gradients is thousands of times as large: what rounds it would hide how the mean moves. Nor does it
    matter how far the noise was moved to read it.
    """
    if not isinstance(noise, Diagonal):
        return noise.shift(-change, tolerance, state.freshness.fresh)
    parts = zip(*(one.inner.split_with_sizes(inside.sizes) for one in seen), strict=True)
    floors = [torch.full_like(values[0], tolerance_of(state, *values)) for values in parts if values[0].numel()]
    floor = torch.cat(floors)
    moved = torch.where(change.abs() <= floor, 0.0, change)
    return noise.shift(-moved, float(floor.min()), state.freshness.fresh)


def change_inside(reader: Reader, state: StepState, inside: Inside, rows: tuple[Rows, Rows]) -> Tensor | None:
    """How the inner values change between two batches, with the step's own latents."""
    here, there = (look(reader, state, inside, batch) for batch in rows)
    if here is None or there is None:
        return None
    return there.inner - here.inner


def at_other_shapes(reader: Reader, state: StepState, inside: Inside) -> Inside | None:
    """The same inner values for a reader of other shapes; ``None`` if they cannot be found there, or their noise is mixed."""
    tracer = Tracer(reader.session.candidate.path, only={inlet.place for inlet in inside.inlets})
    reader.replay(state, state.base, tracer=tracer)
    sizes = []
    for inlet in inside.inlets:
        value = inlet.value_in(tracer.trace)
        if value is None:
            return None
        sizes.append(value.numel())
    sizes += [reader.neighbours.sizes[part] for part in inside.parts]
    form = inside.map_reader.form_at(inside.sizes, sizes)
    if form is None or (sum(inside.sizes) >= inside.released and sum(sizes) < sum(reader.neighbours.sizes)):
        return None
    other = Inside(inside.inlets, inside.parts, sizes, sum(reader.neighbours.sizes))
    other.map_reader.assume(form)
    return other


def look(reader: Reader, state: StepState, inside: Inside, rows: Rows, latents: Tensor | None = None) -> Sight | None:
    """One replay seen from inside; ``None`` if it does not pass all the places."""
    tracer = Tracer(reader.session.candidate.path, only={inlet.place for inlet in inside.inlets})
    release = reader.replay(state, rows, latents, tracer=tracer)
    return sight(reader.neighbours.sizes, inside, tracer.trace, release)


def sight(sizes: Sequence[int], inside: Inside, trace: Trace, release: Tensor) -> Sight | None:
    """The inner values in a trace; ``None`` if one is missing."""
    values: list[Tensor] = []
    for inlet, size in zip(inside.inlets, inside.sizes, strict=False):  # the released parts follow
        value = inlet.value_in(trace)
        if value is None or value.numel() != size:
            return None
        values.append(value)
    parts = release.split_with_sizes(list(sizes))
    return Sight(torch.cat([*values, *(parts[part] for part in inside.parts)]), release)


def tolerance_of(state: StepState, *values: Tensor) -> float:
    """Absolute tolerance for comparing inner values of one step."""
    return state.recording.rounding * max(float(value.abs().max()) for value in values if value.numel())


def _traced(reader: Reader, state: StepState, rows: Rows, latents: Tensor | None) -> Look:
    tracer = Tracer(reader.session.candidate.path)
    release = reader.replay(state, rows, latents, tracer=tracer)
    return Look(tracer.trace, release)


def _read_map(
    reader: Reader, state: StepState, inside: Inside, at: Sight, second: Sight, nudge: Tensor, tolerance: float
) -> NoiseMap | None:
    def inner(latents: Tensor) -> Tensor:
        seen = look(reader, state, inside, state.base, latents)
        return torch.full_like(at.inner, math.nan) if seen is None else seen.inner

    return inside.map_reader.read(at.inner, state.recording.latents, nudge, second.inner - at.inner, tolerance, inner)


def releases_equal(
    reader: Reader, state: StepState, inside: Inside, here: Sight, there: Sight | None, latents: Tensor
) -> bool:
    """Whether two runs agree, inside and in the whole release; ``latents`` are those of ``here``, which ran on D.

    A sign or a rounding may fall to the other side where inner values agree to rounding only. A coordinate that differs is
    let pass only if D itself gives the other value when its latents move by no more than that.
    """
    if there is None:
        return False
    tolerance = tolerance_of(state, here.inner, there.inner)
    if not bool(((there.inner - here.inner).abs() <= 4 * tolerance).all()):
        return False
    allowed = 4 * reader.tolerance(state, here.release)
    open_ = (there.release - here.release).abs() > allowed
    for _ in range(_JITTERS):
        if not bool(open_.any()):
            return True
        if int(open_.sum()) > max(1, _FEW * open_.numel()):
            return False
        moved = look(reader, state, inside, state.base, latents + _jitter(reader, inside, latents, tolerance))
        if moved is None:
            return False
        open_ &= (there.release - moved.release).abs() > allowed
    return not bool(open_.any())


def _jitter(reader: Reader, inside: Inside, latents: Tensor, tolerance: float) -> Tensor:
    """Moves of the latents that move no inner value by more than about ``tolerance``."""
    largest = inside.map_reader.largest
    return reader.nudge(latents.numel()) * (tolerance / largest) if largest > 0 else torch.zeros_like(latents)
