"""Inner values: what is affine in the noise, moved by the data, and then used otherwise than linearly.

An operation whose result is not affine in the latents starts post-processing, or ends the search for a noise multiplier.
What goes into it, if it is affine and both noise and data move it, is an inner value: the release of the step, as it were,
before it is post-processed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .map_reader import MapReader
from .tape import EXACT
from .trace import Operation, Place, Trace

BOTH_WAYS = (1.0, 30.0, 1000.0, -30.0, -1000.0)
"""How far latents are moved to tell what is affine in them: near, far, and the other way, for a clamp may have one side."""


@dataclass(frozen=True, slots=True)
class Inlet:
    """Where a noisy value goes into what post-processes it: the operation's place, and which of its tensors.

    ``leaves``: not what goes into the operation, but what comes out of it and is used outside torch.
    """

    place: Place
    position: int
    leaves: bool = False

    def value_in(self, trace: Trace) -> Tensor | None:
        """The value in a call; ``None`` if the call does not pass the place."""
        return self.value_of(trace.operations.get(self.place))

    def value_of(self, operation: Operation | None) -> Tensor | None:
        """The value at an operation."""
        if operation is None:
            return None
        values = operation.outputs if self.leaves else operation.inputs
        return values[self.position] if self.position < len(values) else None


@dataclass(slots=True)
class Inside:
    """Inner values of a step: ``inlets``, and the released tensors ``parts`` that are affine.

    Attributes:
        sizes: number of elements of each value, inlets first.
        released: number of released coordinates, at the same shapes.
        map_reader: of L from latents to the inner values.
    """

    inlets: tuple[Inlet, ...]
    parts: tuple[int, ...]
    sizes: list[int]
    released: int
    map_reader: MapReader = field(default_factory=MapReader)


@dataclass(frozen=True, slots=True)
class Look:
    """One call, traced: its operations and its release (flat)."""

    trace: Trace
    release: Tensor


def inside_of(
    here: Look,
    moved: Sequence[Look],
    factors: tuple[float, ...],
    there: Look,
    sizes: Sequence[int],
    rounding: float,
    *,
    sinks: bool = False,
) -> Inside | None:
    """The inner values that some calls from one state show, or ``None`` if there are none that could carry the noise.

    Args:
        here: the step on D.
        moved: on D with the latents moved by ``factors`` times one direction, the first factor being 1.
        there: on D', with the latents of ``here``.
        sizes: coordinates of each released tensor.
        rounding: relative.
        sinks: count in what no operation of torch takes in, as it may go on in NumPy or in plain Python.
    """
    released = here.release.split_with_sizes(list(sizes)) if sinks else None
    traces = tuple(look.trace for look in moved)
    found = inlets(here.trace, traces, factors, there.trace, rounding=rounding, sinks_beside=released)
    if not found:
        return None
    parts = _affine_parts(here.release, [look.release for look in moved], factors, there.release, sizes, rounding)
    inner = [value.numel() for inlet in found if (value := inlet.value_in(here.trace)) is not None]
    return Inside(found, parts, inner + [sizes[part] for part in parts], here.release.numel())


def _affine_parts(
    at: Tensor, moved: list[Tensor], factors: tuple[float, ...], apart: Tensor, sizes: Sequence[int], rounding: float
) -> tuple[int, ...]:
    """Released tensors that are affine in the latents, moved by them and by the data."""
    split = [list(release.split_with_sizes(list(sizes))) for release in (at, *moved, apart)]
    allowed = rounding * max(float(release.abs().max()) for release in (at, *moved))
    found = []
    for index, part in enumerate(split[0]):
        others: list[Tensor | None] = [parts[index] for parts in split[1:-1]]
        noisy = others[0] is not None and bool(((others[0] - part).abs() > allowed).any())
        private = bool(((split[-1][index] - part).abs() > allowed).any())
        if noisy and private and affine(part, others, factors, rounding):
            found.append(index)
    return tuple(found)


def inlets(
    here: Trace,
    moved: tuple[Trace, ...],
    factors: tuple[float, ...],
    there: Trace,
    *,
    rounding: float = EXACT,
    sinks_beside: Sequence[Tensor] | None = None,
) -> tuple[Inlet, ...]:
    """The noisy private values that are used in another way than linearly.

    Such a value moves with the data, is affine in the latents, and goes into an operation whose result is not.

    Args:
        here: the step on D.
        moved: on D with the latents moved by ``factors`` times one direction, the first factor being 1.
        there: on D', with the latents of ``here``.
        rounding: relative.
        sinks_beside: the released tensors, to count in also what no operation takes in and what is none of them.
    """
    found: list[Inlet] = []
    seen: list[tuple[Tensor, Tensor]] = []
    operations = list(here.operations.items())
    for number, (place, operation) in enumerate(operations):
        others = [trace.operations.get(place) for trace in (*moved, there)]
        entries = (
            []
            if _linear(operation, others, factors, rounding)
            else [Inlet(place, position) for position in range(len(operation.inputs))]
        )
        if sinks_beside is not None:
            entries += [
                Inlet(place, position, leaves=True)
                for position, value in enumerate(operation.outputs)
                if not _used(value, operations[number + 1 :], sinks_beside)
            ]
        for inlet in entries:
            value, values = inlet.value_of(operation), [inlet.value_of(other) for other in others]
            if value is None or not _noisy_and_private(value, values, factors, rounding):
                continue
            first, other = values[0], values[-1]
            assert first is not None
            assert other is not None
            effect = first - value, other - value
            if not any(_same_information(effect, known, rounding) for known in seen):
                seen.append(effect)
                found.append(inlet)
    return tuple(found)


def _used(value: Tensor, later: Sequence[tuple[Place, Operation]], released: Sequence[Tensor]) -> bool:
    """Whether a later operation takes the value in, or it is released."""
    taken = (tensor for _, operation in later for tensor in operation.inputs)
    return any(torch.equal(value, tensor) for tensor in (*taken, *released))


def _linear(operation: Operation, others: list[Operation | None], factors: tuple[float, ...], rounding: float) -> bool:
    """Whether everything that comes out is affine in the latents, on D."""
    if operation.opaque or not operation.outputs:
        return False
    for position, value in enumerate(operation.outputs):
        moved: list[Tensor | None] = [
            other.outputs[position] if other is not None and position < len(other.outputs) else None
            for other in others[:-1]
        ]
        if not affine(value, moved, factors, rounding):
            return False
    return True


def affine(value: Tensor, moved: list[Tensor | None], factors: tuple[float, ...], rounding: float) -> bool:
    """Whether ``moved`` are ``value`` plus the factors times one and the same move, which the first shows."""
    first = moved[0]
    if first is None or first.shape != value.shape or not bool(torch.isfinite(value).all()):
        return False
    for factor, other in zip(factors, moved, strict=True):
        if other is None or other.shape != value.shape:
            return False
        allowed = 8 * rounding * max(_largest(value), _largest(other), abs(factor) * _largest(first - value))
        if not bool(((other - value - factor * (first - value)).abs() <= allowed).all()):
            return False
    return True


def _noisy_and_private(value: Tensor, values: list[Tensor | None], factors: tuple[float, ...], rounding: float) -> bool:
    """Affine in the latents and moved by them, and moved by the data."""
    *moved, other = values
    if other is None or other.shape != value.shape or not affine(value, moved, factors, rounding):
        return False
    allowed = rounding * max(_largest(value), _largest(other))
    first = moved[0]
    return first is not None and _largest(first - value) > allowed and _largest(other - value) > allowed


def _same_information(effect: tuple[Tensor, Tensor], known: tuple[Tensor, Tensor], rounding: float) -> bool:
    """Whether a value moves as a known one does, up to one factor: it is that value, scaled or copied."""
    noise, data = effect
    if noise.shape != known[0].shape:
        return False
    factor = float(noise @ known[0]) / max(float(known[0] @ known[0]), 1e-300)
    return all(
        bool(((mine - factor * theirs).abs() <= 64 * rounding * max(_largest(mine), _largest(theirs))).all())
        for mine, theirs in ((noise, known[0]), (data, known[1]))
    )


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
