"""Change every row at once: what no single row that was tried shows may show then.

A released coordinate without noise that differs between two batches of the same step differs between some two neighbouring
ones on the way from the one to the other, a row at a time. The walk finds them.
"""

import torch
from torch import Tensor

from dpaudit.contract import NoiseClass, Relation

from .candidates import SPREAD, Canary
from .coupling import Coupled, DrawsDiffer, Reader, StepState
from .diagnosis import Diagnosis
from .inside import Inside
from .noise_map import Dense
from .post_processing import look, releases_equal, tolerance_of
from .problem import proved, unresolved
from .session import Rows

_NORMS = (0.1, 30.0, 0.7, 1.0, 3.0)


def silent_coordinates(reader: Reader, state: StepState, coupled: Coupled) -> Diagnosis | None:
    """A neighbouring pair at which a released coordinate without noise moves, or ``None`` if none does."""
    silent = _without_noise(coupled)
    if not silent.numel():
        return None
    try:
        return _walk(reader, state, silent)
    except DrawsDiffer:
        return None  # found by the coupling, where it matters


def passes_beside(reader: Reader, state: StepState, inside: Inside, coupled: Coupled) -> Diagnosis | None:
    """Whether the release depends on the batch although its inner values are made the same; ``None`` if not."""
    assert coupled.noise is not None
    z = state.recording.latents
    here, there = look(reader, state, inside, state.base), look(reader, state, inside, _all_changed(reader, state))
    if here is not None and there is not None:
        tolerance = tolerance_of(state, here.inner, there.inner)
        shift, _ = coupled.noise.shift(here.inner - there.inner, tolerance, state.freshness.fresh)
        again = look(reader, state, inside, _all_changed(reader, state), z + shift)
        if releases_equal(reader, state, inside, here, again, z):
            return None
    message = (
        f"step {state.step}: with the values before post-processing made equal by shifted noise, the release still differs "
        "when all rows of the batch change: data passes beside them, or their noise depends on it"
    )
    return Diagnosis(NoiseClass.UNRESOLVED, unresolved("DPA207", message, state.draw_line))


def _without_noise(coupled: Coupled) -> Tensor:
    """Indices of the coordinates that no latent moves."""
    noise = coupled.noise
    assert noise is not None
    scale = noise.matrix.abs().amax(dim=1) if isinstance(noise, Dense) and noise.matrix.numel() else None
    if isinstance(noise, Dense):
        scale = torch.zeros(coupled.change.numel(), dtype=torch.float64) if scale is None else scale
    else:
        scale = torch.where(noise.source >= 0, noise.scale.abs(), 0.0)
    return torch.nonzero(scale <= coupled.tolerance).reshape(-1)


def _walk(reader: Reader, state: StepState, silent: Tensor) -> Diagnosis | None:
    batch, target = state.base, _all_changed(reader, state)
    release = state.release
    if _moved(reader, state, release, reader.replay(state, target), silent) is None:
        return None
    for row in range(target[0].shape[0]):
        after = [tensor.clone() for tensor in batch]
        for tensor, wanted in zip(after, target, strict=True):
            tensor[row] = wanted[row]
        ways = [after] if reader.neighbours.relation is Relation.REPLACE_ONE else [_absent(reader, batch, row), after]
        for way in ways:
            released = reader.replay(state, way)
            moved = _moved(reader, state, release, released, silent)
            if moved is not None:
                return _found(reader, state, row, moved)
            release = released
        batch = after
    return None


def _found(reader: Reader, state: StepState, row: int, moved: Tensor) -> Diagnosis:
    message = (
        f"step {state.step}: {moved.numel()} of {state.release.numel()} released coordinates carry no Gaussian noise, and "
        f"move when row {row} of the batch alone changes ({reader.neighbours.relation}, seed {reader.seed})"
    )
    problem = proved(
        "DPA204", message, state.draw_line, coordinates=int(moved.numel()), of=int(state.release.numel()), row=row
    )
    return Diagnosis(NoiseClass.NO_FRESH_NOISE, problem)


def _moved(reader: Reader, state: StepState, here: Tensor, there: Tensor, silent: Tensor) -> Tensor | None:
    tolerance = 4 * reader.tolerance(state, here, there)
    moved = silent[(there - here)[silent].abs() > tolerance]
    return moved if moved.numel() else None


def _all_changed(reader: Reader, state: StepState) -> Rows:
    """As many rows as D, each another one, of several norms and of both signs."""
    out = [torch.zeros_like(tensor) for tensor in state.base]
    for row in range(out[0].shape[0]):
        canary = Canary(SPREAD, _NORMS[row % len(_NORMS)])
        for tensor, part in zip(out, reader.neighbours.row(canary), strict=True):
            tensor[row] = part * (1 if row % 3 else -1)
    return out


def _absent(reader: Reader, batch: Rows, row: int) -> Rows:
    """The batch without a row: it is taken out where the number of rows may change, else set to zero."""
    if reader.neighbours.grows:
        return [torch.cat([tensor[:row], tensor[row + 1 :]]) for tensor in batch]
    out = [tensor.clone() for tensor in batch]
    for tensor in out:
        tensor[row] = 0
    return out
