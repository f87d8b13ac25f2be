"""Noise that is rounded to half precision before it meets the data: of which latents, at which scale, to which format."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dpaudit.contract import RunConfig
from dpaudit.probe.gaussian_moments import is_standard
from dpaudit.probe.tape import Draw, Recording

from .batches import Beside
from .moments import Moment

FORMATS = (torch.bfloat16, torch.float16)

_PROBES = 24
_ALIKE = 0.98


@dataclass(frozen=True, slots=True)
class Rounded:
    """Noise v = mean + spread z that is rounded to ``dtype`` before it is added, from the latents at ``offset``."""

    dtype: torch.dtype
    mean: float
    spread: float
    offset: int


def values_of(dtype: torch.dtype) -> Tensor:
    """All finite values of a half-precision format, ascending (float64); -0 and 0 are two of them."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype).to(torch.float64)
    ascending: Tensor = every[torch.isfinite(every)].sort().values
    return ascending


def rounded_noise(moment: Moment, recording: Recording, beside: Beside, config: RunConfig) -> Rounded | None:
    """Whether the noise of the largest tensor goes through half precision before it meets the data: of its draw, or later.

    A draw in half precision does by itself. Otherwise the release must be the same, on D and on D', when the noise is given as
    its own rounding: a release that is rounded afterwards, or noise in full precision, is not.

    Raises:
        CandidateError, Unreadable: a call failed, or its draws depend on the rows.
    """
    tensor = largest_tensor(moment)
    start, size = sum(moment.geometry.sizes[:tensor]), moment.geometry.sizes[tensor]
    for draw, offset in _draws_of(moment, recording, tensor):
        raw = draw.raw
        if raw is None or isinstance(draw.mean, Tensor) or isinstance(draw.std, Tensor):
            continue
        if not float(draw.std) > 0:
            continue
        if raw.dtype in FORMATS:
            return Rounded(raw.dtype, float(draw.mean), float(draw.std), offset)
        if float(draw.mean) != 0.0:
            continue
        for spread in _spreads(draw, config):
            for dtype in FORMATS:
                found = Rounded(dtype, 0.0, spread, offset)
                if _is_alike(moment, recording, beside, found, slice(start, start + size)):
                    return found
    return None


def largest_tensor(moment: Moment) -> int:
    """Number of the tensor with the most coordinates, the first of several."""
    sizes = moment.geometry.sizes
    return sizes.index(max(sizes))


def zeros_beside(moment: Moment, beside: Beside) -> Tensor:
    """The batch D with a zero row (or none) in the differing place, flat."""
    zero = torch.zeros(sum(moment.geometry.sizes), dtype=moment.session.dtype)
    return moment.geometry.without(beside, zero)


def _draws_of(moment: Moment, recording: Recording, tensor: int) -> Iterator[tuple[Draw, int]]:
    """Draws from which the tensor may take its noise: one of its size, or of all tensors in order; with the first latent."""
    sizes = moment.geometry.sizes
    for draw in recording.draws:
        if draw.numel == sizes[tensor] and _is_moved(moment, recording, tensor, draw.offset):
            yield draw, draw.offset
        within = draw.offset + sum(sizes[:tensor])
        if draw.numel == sum(sizes) != sizes[tensor] and _is_moved(moment, recording, tensor, within):
            yield draw, within


def _is_moved(moment: Moment, recording: Recording, tensor: int, offset: int) -> bool:
    """Whether the tensor's release moves with the latents at this place, and with no others."""
    size, start = moment.geometry.sizes[tensor], sum(moment.geometry.sizes[:tensor])
    flat = zeros_beside(moment, Beside(count=moment.geometry.counts()[0]))
    generator = torch.Generator().manual_seed(3)
    here, there = (torch.randn(len(recording.latents), generator=generator, dtype=torch.float64) for _ in range(2))
    elsewhere = there.clone()
    elsewhere[offset : offset + size] = here[offset : offset + size]
    base, own, others = (
        moment.release_on(recording, flat, z)[start : start + size]
        for z in (here, torch.where(elsewhere == here, there, here), elsewhere)
    )
    return torch.equal(base, others) and not torch.equal(base, own)


def _spreads(draw: Draw, config: RunConfig) -> tuple[float, ...]:
    """Scales at which noise may be rounded: as it is drawn, as noise of the sum, as noise of the mean."""
    std = float(draw.std)
    of_sum = config.noise_multiplier * config.max_grad_norm
    scales = (std, std * of_sum, std * of_sum / config.batch_size) if is_standard(draw.mean, draw.std) else (std,)
    return tuple(dict.fromkeys(scale for scale in scales if scale > 0))


def _is_alike(moment: Moment, recording: Recording, beside: Beside, rounded: Rounded, part: slice) -> bool:
    """Whether nearly every coordinate releases the same for noise and for its rounding, on D and on D'.

    Nearly: noise beside the middle between two values may round either way.
    """
    generator = torch.Generator().manual_seed(29)
    size = part.stop - part.start
    row = torch.zeros(sum(moment.geometry.sizes), dtype=moment.session.dtype)
    row[part] = 0.917 * moment.geometry.bound / size**0.5
    for flat in (moment.geometry.without(beside, torch.zeros_like(row)), moment.geometry.with_row(beside, row)):
        same = 0
        for _ in range(_PROBES):
            z = torch.randn(len(recording.latents), generator=generator, dtype=torch.float64)
            snapped = z.clone()
            own = slice(rounded.offset, rounded.offset + size)
            snapped[own] = (rounded.spread * z[own]).to(rounded.dtype).to(torch.float64) / rounded.spread
            first, second = (moment.release_on(recording, flat, latents)[part] for latents in (z, snapped))
            same += int((first == second).sum())
        if not same >= _ALIKE * _PROBES * size:
            return False
    return True
