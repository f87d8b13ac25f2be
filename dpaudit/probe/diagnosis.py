"""Why a coupling failed: which of the things that must not depend on private data does."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dpaudit.contract import NoiseClass, PlainData, Relation

from .coupling import NUDGES, Coupled, DrawsDiffer, Reader, StepState
from .map_reader import LATENT_LIMIT
from .noise_map import Dense, structure_of
from .problem import Problem, proved, unresolved
from .scale_channel import row_scales, scale_channel
from .session import Rows

_HAPPENED = {
    Relation.ADD_REMOVE: "was added",
    Relation.ZERO_OUT: "took the place of a zero row",
    Relation.REPLACE_ONE: "was replaced by its opposite",
}


@dataclass(slots=True)
class Diagnosis:
    """What a step is, with the problem that shows it; ``coupled`` where a reading was reached after all."""

    noise_class: NoiseClass
    problem: Problem | None
    coupled: Coupled | None = None


def describe_row(reader: Reader, state: StepState) -> str:
    """The differing row in words."""
    happened = _HAPPENED[reader.neighbours.relation]
    return f"one row ({state.canary}, seed {reader.seed}) {happened}"


def diagnose(reader: Reader, state: StepState, coupled: Coupled) -> Diagnosis:
    """Explain a coupling that did not match."""
    try:
        return _diagnose(reader, state, coupled)
    except DrawsDiffer as error:
        return draws_differ(error, state)


def draws_differ(error: DrawsDiffer, state: StepState) -> Diagnosis:
    """The draws themselves depend on the data."""
    problem = unresolved(
        "DPA207", f"{error} (when one row was changed), so the noise cannot be compared", state.draw_line
    )
    return Diagnosis(NoiseClass.UNRESOLVED, problem)


def _diagnose(reader: Reader, state: StepState, coupled: Coupled) -> Diagnosis:
    reader.session.restore(state.before)
    seen = reader.session.call(state.base, state.step, state.epoch, watch=True).recording
    state.recording.coins, state.recording.coin_line = seen.coins, seen.coin_line
    if seen.rounding > state.recording.rounding or not torch.equal(seen.latents, state.recording.latents):
        state.recording = seen
        again = reader.couple(state)
        if again.matched:
            return Diagnosis(NoiseClass.CLEAN, None, again)
        coupled = again
    if not torch.equal(reader.replay(state, state.base), state.release):
        return _escaped(state, "two identical replays of the step released different values")
    stirred = state.release if reader.coins_matter else reader.replay(state, state.base, stir=True)
    if bool(((stirred - state.release).abs() > coupled.tolerance).any()):
        return _coins(reader, state)
    if reader.coins_matter:
        return Diagnosis(NoiseClass.UNRESOLVED, None)  # said when it was found
    latents = state.recording.latents
    if latents.numel() > LATENT_LIMIT:
        problem = unresolved(
            "DPA207",
            f"step {state.step}: {latents.numel()} Gaussian draws for {state.release.numel()} released coordinates; "
            f"at most {LATENT_LIMIT} can be read",
            state.draw_line,
        )
        return Diagnosis(NoiseClass.UNRESOLVED, problem)
    return _compare_maps(reader, state, coupled)


def _coins(reader: Reader, state: StepState) -> Diagnosis:
    """Randomness that is not a Gaussian draw on the tape reaches the release: read the step with it held fixed."""
    if state.recording.coins:
        problem = unresolved(
            "DPA206",
            f"step {state.step}: the release depends on {state.recording.coins} random draws that are not Gaussian; "
            "they earn no credit",
            state.recording.coin_line,
            draws=state.recording.coins,
        )
    else:
        problem = unresolved(
            "DPA207",
            f"step {state.step}: the release changes when the generators are moved although every Gaussian draw is the "
            "same; randomness escapes the tape",
            state.draw_line,
        )
    reader.coins_matter = True
    held = reader.couple(state)
    if held.matched:
        return Diagnosis(NoiseClass.CLEAN, problem, held)
    return Diagnosis(NoiseClass.UNRESOLVED, problem)


def _escaped(state: StepState, what: str) -> Diagnosis:
    problem = unresolved("DPA207", f"step {state.step}: {what}; randomness escapes the tape", state.draw_line)
    return Diagnosis(NoiseClass.UNRESOLVED, problem)


def _uncovered(reader: Reader, state: StepState, coupled: Coupled) -> Diagnosis:
    """Some coordinates move with the row and carry no fresh noise."""
    assert coupled.noise is not None
    bare = coupled.noise.uncovered(coupled.change, coupled.tolerance, state.freshness.fresh)
    tensors = _tensors_of(bare, reader.neighbours.sizes)
    row = describe_row(reader, state)
    evidence: dict[str, PlainData] = {
        "coordinates": int(bare.numel()),
        "of": int(state.release.numel()),
        "tensors": [*tensors],
        "largest_change": float(coupled.change[bare].abs().max()) if bare.numel() else 0.0,
        "latents": int(state.recording.latents.numel()),
    }
    if state.freshness.reused:
        message = f"step {state.step}: {state.freshness.reused}; the release moves when {row}, and differences show it exactly"
        return Diagnosis(NoiseClass.NO_FRESH_NOISE, proved("DPA205", message, state.freshness.line, **evidence))
    if isinstance(coupled.noise, Dense) and bool(
        (coupled.noise.matrix[bare].abs().amax(dim=1) > coupled.tolerance).all()
    ):
        message = (
            f"step {state.step}: {state.release.numel()} released coordinates share {evidence['latents']} Gaussian "
            f"numbers; some combination of them moves without noise when {row}"
        )
        return Diagnosis(NoiseClass.NO_FRESH_NOISE, proved("DPA205", message, state.draw_line, **evidence))
    where = "in every tensor" if len(tensors) == len(reader.neighbours.sizes) else f"in tensors {tensors}"
    message = (
        f"step {state.step}: {bare.numel()} of {state.release.numel()} released coordinates ({where}) move without "
        f"fresh Gaussian noise when {row}"
    )
    return Diagnosis(NoiseClass.NO_FRESH_NOISE, proved("DPA204", message, state.draw_line, **evidence))


def _compare_maps(reader: Reader, state: StepState, coupled: Coupled) -> Diagnosis:
    """Read L afresh on both sides: not affine, different, or equal after all."""
    here, at_here = reader.matrix(state, state.base)
    there, at_there = reader.matrix(state, state.other)
    tolerance = coupled.tolerance
    if not (_affine(reader, state, state.base, here, at_here) and _affine(reader, state, state.other, there, at_there)):
        problem = unresolved(
            "DPA207",
            f"step {state.step}: the release is not an affine function of the Gaussian draws, so no noise multiplier can "
            "be read from it",
            state.draw_line,
        )
        return Diagnosis(NoiseClass.UNRESOLVED, problem)
    difference = float((there - here).abs().max()) if here.numel() else 0.0
    if difference > 8 * tolerance:
        return _data_dependent(reader, state, here, there)
    noise = structure_of(here, tolerance)
    shift, mu = noise.shift(-coupled.change, tolerance, state.freshness.fresh)
    fresh_look = Coupled(noise, coupled.change, shift, mu, False, None, tolerance)
    if math.isinf(mu):
        return _uncovered(reader, state, fresh_look)
    fresh_look.matched, fresh_look.after, _ = reader.check(state, shift, 4 * tolerance)
    if fresh_look.matched:
        return Diagnosis(NoiseClass.CLEAN, None, fresh_look)
    return _escaped(state, "the neighbouring batch cannot be made to release the same update")


def _affine(reader: Reader, state: StepState, rows: Rows, matrix: Tensor, at: Tensor) -> bool:
    """Whether the release on some rows is at + L (z' - z), near z and far from it."""
    z = state.recording.latents
    for factor in NUDGES:
        nudge = factor * reader.nudge(z.numel())
        there = reader.replay(state, rows, z + nudge)
        if not bool(((there - at - matrix @ nudge).abs() <= 8 * reader.tolerance(state, at, there)).all()):
            return False
    return True


def affine_far(reader: Reader, state: StepState, coupled: Coupled) -> bool:
    """Whether L as it was read near the release describes it far away, too."""
    assert coupled.noise is not None
    z = state.recording.latents
    for factor in NUDGES:
        nudge = factor * reader.map_reader.still(reader.nudge(z.numel()))
        there = reader.replay(state, state.base, z + nudge)
        apart = there - state.release - coupled.noise.apply(nudge)
        if not bool((apart.abs() <= 8 * reader.tolerance(state, there)).all()):
            return False
    return True


def _data_dependent(reader: Reader, state: StepState, here: Tensor, there: Tensor) -> Diagnosis:
    norm = float(here.norm())
    ratio = float(there.norm()) / norm if norm > 0 else math.inf
    rows = state.base[0].shape[0]
    row = describe_row(reader, state)
    evidence: dict[str, PlainData] = {
        "scale_before": norm,
        "scale_after": float(there.norm()),
        "relative_change": ratio - 1,
    }
    channel = scale_channel(row_scales(here), row_scales(there), reader.neighbours.sizes, reader.real_sizes)
    worth = ""
    if channel is not None:
        worth = f"; {channel.words}"
        evidence |= channel.evidence
    if reader.neighbours.grows and abs(ratio - rows / (rows + 1)) < 1e-6 * ratio:
        message = (
            f"step {state.step}: the noise shrank by the factor {rows}/{rows + 1} when {row} to {rows} rows: the "
            f"update is divided by the realised number of rows, which is private{worth}"
        )
        return Diagnosis(NoiseClass.DATA_DEPENDENT, proved("DPA208", message, state.draw_line, **evidence))
    percent = f"{100 * abs(ratio - 1):.3g} %" if abs(ratio - 1) > 1e-12 else "its shape only"
    message = (
        f"step {state.step}: the noise scale changed by {percent} when {row}; "
        f"a threshold or schedule reads private data{worth}"
    )
    return Diagnosis(NoiseClass.DATA_DEPENDENT, proved("DPA202", message, state.draw_line, **evidence))


def _tensors_of(coordinates: Tensor, sizes: list[int]) -> list[int]:
    edges = torch.tensor(sizes).cumsum(0)
    return sorted(set(torch.searchsorted(edges, coordinates, right=True).tolist()))
