"""Where a post-processed release is looked at: the values before post-processing, confirmed at the output.

A sign, a rounding or a clamp of a Gaussian release is free, yet the release is then no affine function of the latents.
Contribution, noise and its shape are read at the inner values instead (:mod:`dpaudit.probe.inside`): affine in the latents out
to a thousand standard deviations, moved by noise and data, and used otherwise than linearly. Noise that is clamped before it
is added has no such value: what goes into that clamp does not move with the data. That nothing passes beside the inner values
is confirmed for every row: once its effect on them is undone by the noise, the whole release must be what it was without it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, assert_never

import torch
from torch import Tensor

from dpaudit.probe.inside import BOTH_WAYS, Inside, Look, inside_of
from dpaudit.probe.noise_map import Dense, Diagonal
from dpaudit.probe.tape import EXACT, ROUNDING, Recording
from dpaudit.probe.trace import Tracer, TraceTooLarge

from .gradients import RowPattern
from .readings import Reading, Unreadable

if TYPE_CHECKING:
    from .moments import Moment

_LOOKS = (False, False, True)
"""Looks for inner values, each with other moves of the latents; the last counts in what leaves torch."""
_ROW = RowPattern(kind="equal", norm=1.0)
_MORE_MOVES = 3
_ENLARGED = 1e-3
_FEW = 0.02
_JITTERS = 6
_CONSTANT_AT = 15


def inner_rounding(moment: "Moment") -> float:
    """Relative rounding of values that a call computes in the precision of its gradients."""
    return EXACT if moment.session.dtype is torch.float64 else ROUNDING[moment.session.dtype]


def find_inner(moment: "Moment", recording: Recording, flat: Tensor, nudge: Tensor) -> Iterator[Inside]:
    """What may be the inner values of a call; nothing where the release itself is affine, near and far.

    Args:
        recording: of the call on D.
        flat: the rows of D.
        nudge: a move of the latents.

    Raises:
        Unreadable: the random draws depend on the rows.
    """
    if not recording.latents.numel():
        return None
    rounding, sizes = inner_rounding(moment), moment.geometry.sizes
    other = torch.cat([flat, moment.row(_ROW).unsqueeze(0)])
    if not moment.geometry.grows and len(flat):
        other = torch.cat([flat[:-1], other[-1:]])
    for turn, sinks in enumerate(_LOOKS):
        # Not along a line through zero: on rows of zeros much post-processing is homogeneous.
        move = moves_of(nudge.numel(), 1000 * (moment.step + 1) + turn)
        points = [nudge + factor * move for factor in (0.0, *BOTH_WAYS)]
        releases = [moment.release_on(recording, flat, point) for point in points]
        if recording.rounding <= rounding and _affine(releases, rounding):
            continue
        try:
            here, *moved = (_look(moment, recording, flat, point) for point in points)
            found = inside_of(
                here, moved, BOTH_WAYS, _look(moment, recording, other, nudge), sizes, rounding, sinks=sinks
            )
        except TraceTooLarge:
            return
        if found is not None:
            yield _without_chance(moment, recording, flat, found, points[0])


def _without_chance(moment: "Moment", recording: Recording, flat: Tensor, found: Inside, at: Tensor) -> Inside:
    """Leave out released tensors that are affine along one move only: a top-k may keep the same coordinates along it."""
    sizes, parts = moment.geometry.sizes, list(found.parts)
    for turn in range(_MORE_MOVES if parts else 0):
        move = moves_of(at.numel(), 7_000_003 + turn)
        releases = [moment.release_on(recording, flat, at + factor * move) for factor in (0.0, *BOTH_WAYS)]
        split = [release.split_with_sizes(list(sizes)) for release in releases]
        parts = [part for part in parts if _affine([tensors[part] for tensors in split], inner_rounding(moment))]
    return Inside(
        found.inlets,
        tuple(parts),
        [*found.sizes[: len(found.inlets)], *(sizes[part] for part in parts)],
        found.released,
    )


def moves_of(size: int, seed: int) -> Tensor:
    """Moves of latents, none of them small."""
    generator = torch.Generator().manual_seed(seed)
    sign = torch.randint(0, 2, (size,), generator=generator).to(torch.float64) * 2 - 1
    return sign * (0.5 + torch.rand(size, generator=generator, dtype=torch.float64))


def confirm(moment: "Moment", reading: Reading, rows: tuple[Tensor, Tensor], shift: Tensor, tolerance: float) -> bool:
    """Whether D' with shifted latents releases what D does; ``False`` only if that release is not finite.

    A sign or a rounding may fall to the other side where inner values agree to rounding only, and smooth post-processing
    enlarges such differences: what the release of D itself does when its latents move by as little is let pass.

    Args:
        rows: of D and of D', flat.
        shift: of the latents, so that the inner values agree.
        tolerance: to which inner values agree.

    Raises:
        Unreadable: something passes beside the inner values.
    """
    here = moment.release_on(reading.recording, rows[0], reading.nudge)
    there = moment.release_on(reading.recording, rows[1], reading.nudge + shift)
    if not bool(torch.isfinite(there).all()):
        return False
    apart = (there - here).abs()
    allowed = torch.full_like(apart, 8 * inner_rounding(moment) * max(_largest(here), _largest(there)))
    if bool((apart <= allowed).all()):
        return True
    spread = _spread(moment, reading, rows[0], here, 4 * tolerance)
    open_ = apart > allowed + 4 * spread.clamp_max(_ENLARGED * _largest(here))
    if int(open_.sum()) <= max(1, _FEW * open_.numel()) and bool((apart <= allowed + 4 * spread).all()):
        return True
    raise Unreadable(
        f"step {moment.step}: data passes beside the values before post-processing, or cannot be told from it"
    )


def betrayed(moment: "Moment", reading: Reading, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Released coordinates that stay the same whatever the latents are, on D and on D', but differ between the two."""
    generator = torch.Generator().manual_seed(moment.step + 1)
    seen: list[list[Tensor]] = [[], []]
    for turn in range(_CONSTANT_AT):
        far = BOTH_WAYS[turn % len(BOTH_WAYS)] * torch.randn(reading.latents, generator=generator, dtype=torch.float64)
        for releases, flat in zip(seen, rows, strict=True):
            releases.append(moment.release_on(reading.recording, flat, far))
    here, there = (torch.stack(releases) for releases in seen)
    scale = 8 * inner_rounding(moment) * max(_largest(here), _largest(there))
    still = ((here - here[0]).abs().amax(0) <= scale) & ((there - there[0]).abs().amax(0) <= scale)
    return torch.nonzero(still & ((there[0] - here[0]).abs() > 4 * scale)).reshape(-1)


def tracer_of(moment: "Moment") -> Tracer | None:
    """What records the moment's inner values in a call; ``None`` where the release is looked at."""
    if moment.inside is None:
        return None
    return Tracer(moment.session.candidate.path, only={inlet.place for inlet in moment.inside.inlets})


def _look(moment: "Moment", recording: Recording, flat: Tensor, latents: Tensor) -> Look:
    tracer = Tracer(moment.session.candidate.path)
    return Look(tracer.trace, moment.release_on(recording, flat, latents, tracer=tracer))


def _affine(releases: list[Tensor], rounding: float) -> bool:
    """Whether the release moves in proportion to the latents, out to the largest move."""
    at, near, *far = releases
    for factor, release in zip(BOTH_WAYS[1:], far, strict=True):
        allowed = 16 * rounding * max(_largest(at), _largest(release), abs(factor) * _largest(near - at))
        if not bool(((release - at - factor * (near - at)).abs() <= allowed).all()):
            return False
    return True


def _spread(moment: "Moment", reading: Reading, flat: Tensor, here: Tensor, size: float) -> Tensor:
    """By how much each released coordinate of D changes when every inner value moves by up to ``size``."""
    match reading.noise:
        case Diagonal() as form:
            strength = torch.zeros(reading.latents, dtype=torch.float64)
            strength[form.source[form.source >= 0]] = form.scale[form.source >= 0].abs()
        case Dense() as form:
            strength = form.matrix.abs().amax(0)
        case _:
            assert_never(reading.noise)
    scale = torch.where(strength > reading.tolerance, size / strength.clamp_min(1e-300), 0.0)
    generator = torch.Generator().manual_seed(moment.step)
    spread = torch.zeros_like(here)
    for _ in range(_JITTERS):
        jitter = scale * (2 * torch.rand(reading.latents, generator=generator, dtype=torch.float64) - 1)
        moved = moment.release_on(reading.recording, flat, reading.nudge + jitter)
        spread = torch.maximum(spread, (moved - here).abs())
    return spread


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0
