"""The joint linear Gaussian model of several steps: out = a(D) + L z, with out and z the releases and latents of all of them.

For noise that is correlated over steps no sigma of one step says anything. A row that takes part at some steps moves the
stacked releases by Delta, and the steps together are a Gaussian mechanism with mu^2 = Delta^T (L L^T)^-1 Delta. What is read is
confirmed as everything in the probe is: with the latents shifted by L^-1 Delta the neighbouring run must release what D did.
Nothing is amplified by sampling: correlated steps do not compose one by one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Canary
from .coupling import DrawsDiffer, Reader, StepState

_LATENTS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class JointModel:
    """``matrix`` is L; ``states`` are the steps as they ran on D."""

    matrix: Tensor
    states: tuple[StepState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class JointDistance:
    """mu of a row that takes part at the steps ``pattern`` of the first ``steps`` (dimensionless)."""

    mu: float
    pattern: tuple[int, ...]
    steps: int


def read_joint_model(reader: Reader, steps: Sequence[int], epochs: Sequence[int], canary: Canary) -> JointModel | None:
    """L over some steps from the mechanism's present state; ``None`` if the releases are not affine in the latents.

    Raises:
        CandidateError: the mechanism raised.
        DrawsDiffer: its draws depend on the latents.
    """
    states = tuple(reader.begin(step, epoch, canary) for step, epoch in zip(steps, epochs, strict=True))
    sizes = [state.recording.latents.numel() for state in states]
    if not 0 < sum(sizes) <= _LATENTS:
        return None
    z = torch.cat([state.recording.latents for state in states])
    at = _stacked(reader, states, z, ())
    columns = []
    for index in range(z.numel()):
        moved = z.clone()
        moved[index] += 1.0
        columns.append(_stacked(reader, states, moved, ()) - at)
    matrix = torch.stack(columns, dim=1)
    for factor in (1.0, 100.0):
        nudge = factor * reader.nudge(z.numel())
        there = _stacked(reader, states, z + nudge, ())
        allowed = 16 * max(state.recording.rounding for state in states) * max(1e-300, float(there.abs().max()))
        if not bool(((there - at - matrix @ nudge).abs() <= allowed).all()):
            return None
    return JointModel(matrix=matrix, states=states)


def joint_distance(reader: Reader, model: JointModel, pattern: Sequence[int]) -> JointDistance | None:
    """mu for a row that takes part at the steps of these positions; ``None`` if it is not confirmed.

    Infinite where the noise does not cover the change.
    """
    states = model.states
    z = torch.cat([state.recording.latents for state in states])
    try:
        at = _stacked(reader, states, z, ())
        change = _stacked(reader, states, z, pattern) - at
        shift = -torch.linalg.pinv(model.matrix, rtol=1e-9) @ change
        allowed = 1e-6 * max(float(at.abs().max()), float(change.abs().max()))
        if not bool(((model.matrix @ shift + change).abs() <= allowed).all()):
            return JointDistance(mu=math.inf, pattern=tuple(pattern), steps=len(states))
        coupled = _stacked(reader, states, z + shift, pattern)
    except DrawsDiffer:
        return None
    if not bool(((coupled - at).abs() <= allowed).all()):
        return None
    return JointDistance(mu=float(shift.norm()), pattern=tuple(pattern), steps=len(states))


def _stacked(reader: Reader, states: Sequence[StepState], latents: Tensor, pattern: Sequence[int]) -> Tensor:
    """All releases of one run from the state before the first step; D' at the positions in ``pattern``."""
    reader.session.restore(states[0].before)
    out, offset = [], 0
    for position, state in enumerate(states):
        size = state.recording.latents.numel()
        rows = state.other if position in pattern else state.base
        run = reader.session.call(
            rows, state.step, state.epoch, replay=state.recording, latents=latents[offset : offset + size]
        )
        if run.diverged:
            raise DrawsDiffer(f"step {state.step}: the number or the size of its random draws depends on the data")
        reader.report(state.step, state.epoch)
        out.append(run.release)
        offset += size
    return torch.cat(out)
