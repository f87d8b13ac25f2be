"""Noisy values that a step keeps for itself, such as a private clipping threshold.

A step may release a statistic with Gaussian noise to itself only: it steers the threshold, this step's or the next
one's. Both sides are then coupled in these latents too: they are shifted until D' is left in the same state as D and
releases the same. The squared length of the whole shift is mu^2 of the step, the internal release included (derived
here; for a threshold by Andrew et al. 2021, arXiv 1905.03871, it gives their (z^-2 + sigma_b^-2)^(-1/2)).
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .coupling import Coupled, Reader, StepState
from .hidden_state import differing
from .noise_map import Diagonal, NoiseMap
from .world import Snapshot

_ROUNDS = 10
_STEP = 1e-4


def settle(reader: Reader, state: StepState, noise: NoiseMap) -> Coupled | None:
    """Shift internal and released latents until both sides agree; ``None`` if that does not succeed.

    ``after`` of the result is the world that D' is left in.
    """
    inner = reader.map_reader.internal
    if inner is None or not isinstance(noise, Diagonal):
        return None
    latents = state.recording.latents.clone()
    if reader.internal_guess.numel() == inner.numel():
        latents[inner] += reader.internal_guess
    outer = torch.ones(latents.numel(), dtype=torch.bool)
    outer[inner] = False
    change = torch.zeros_like(state.release)
    for _ in range(_ROUNDS):
        released = reader.replay(state, state.other, latents)
        nudge = reader.nudge(latents.numel()) * outer
        moved = reader.replay(state, state.other, latents + nudge)
        scale = (moved - released) / nudge[noise.source.clamp_min(0)]
        there = Diagonal(noise.source, torch.where(noise.source >= 0, scale, 0.0))
        tolerance = reader.tolerance(state, released, moved)
        shift, distance = there.shift(state.release - released, tolerance, state.freshness.fresh)
        if not math.isfinite(distance):
            return None
        change = state.release - released
        latents = latents + shift
        matched, after, _ = reader.check(state, latents - state.recording.latents, tolerance)
        paths = differing(state.after, after, 4 * tolerance)
        steered = _newton(reader, state, latents, after, paths)
        if steered is None:
            # What still differs does not follow the internal latents; it is left to the search for hidden state.
            whole = latents - state.recording.latents
            reader.internal_guess = whole[inner].clone()
            return Coupled(noise, change, whole, float(whole.norm()), matched, after, tolerance) if matched else None
        latents = steered
    return None


def _newton(
    reader: Reader, state: StepState, latents: Tensor, after: Snapshot, paths: tuple[str, ...]
) -> Tensor | None:
    """Move the internal latents so that the leaves that follow them come out as on D; ``None`` if none does."""
    assert reader.map_reader.internal is not None
    wanted = _numbers(state.after, paths)
    here = _numbers(after, paths)
    if wanted is None or here is None or wanted.shape != here.shape or not wanted.size:
        return None
    columns = []
    for index in reader.map_reader.internal.tolist():
        moved = latents.clone()
        moved[index] += _STEP
        reader.replay(state, state.other, moved)
        there = _numbers(reader.session.snapshot(), paths)
        if there is None or there.shape != here.shape:
            return None
        columns.append((there - here) / _STEP)
    slope = np.stack(columns, axis=1)
    rows = np.abs(slope).max(axis=1) > 0
    if not rows.any():
        return None
    move, *_ = np.linalg.lstsq(slope[rows], (wanted - here)[rows], rcond=None)
    if not np.isfinite(move).all():
        return None
    steered = latents.clone()
    steered[reader.map_reader.internal] += torch.from_numpy(np.clip(move, -1e3, 1e3))
    return steered


def _numbers(snapshot: Snapshot, paths: tuple[str, ...]) -> Any:
    """The numeric leaves at some paths as one vector; ``None`` if one is missing."""
    parts = []
    for path in paths:
        value = snapshot.leaves.get(path)
        if isinstance(value, Tensor) and value.dtype.is_floating_point:
            parts.append(value.detach().to(torch.float64).numpy().reshape(-1))
        elif isinstance(value, float | np.floating):
            parts.append(np.array([float(value)]))
        elif isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating):
            parts.append(value.astype(np.float64).reshape(-1))
    return np.concatenate(parts) if parts else None
