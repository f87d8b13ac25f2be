"""Private state: what D' leaves behind after a step at which it released exactly what D did.

If later releases, with the same data and the same latents, differ, then something other than the release carried the
difference. What carries it decides: the noise scale (data-dependent), stored noise alone (correlated noise, to be
accounted for jointly), or data (a leak). Feedback through released values is the same on both sides and is never seen.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import NoiseClass

from .coupling import NUDGES, DrawsDiffer, Reader, StepState
from .diagnosis import Diagnosis, describe_row
from .inside import Inside
from .post_processing import Sight, sight, tolerance_of
from .problem import proved, unresolved
from .scale_channel import ScaleChannel, scale_channel
from .session import Rows
from .trace import Tracer
from .world import Snapshot, root_of

_MOVES = 8
"""So many other latents are tried to show in a release what differs before post-processing."""


@dataclass(slots=True)
class Shadow:
    """The world after D' released what D did at ``origin``, and which attributes differ from D's.

    ``settled``: the latents that the step drew for itself were shifted too. ``between`` are the steps
    run since, on the same data and latents, without a difference.
    """

    origin: StepState
    world: Snapshot
    attributes: tuple[str, ...]
    settled: bool = False
    between: tuple[StepState, ...] = ()


def differing(here: Snapshot, there: Snapshot, tolerance: float) -> tuple[str, ...]:
    """Paths of the leaves in which two worlds differ beyond rounding (relative, and absolute for small values)."""
    paths = [path for path in here.leaves if path not in there.leaves]
    for path, value in there.leaves.items():
        if path not in here.leaves or not _same(here.leaves[path], value, tolerance):
            paths.append(path)
    return tuple(paths)


def differs(reader: Reader, state: StepState, shadow: Shadow) -> float:
    """How much ``state``'s step releases otherwise from the shadow's world (largest coordinate); 0 within rounding."""
    released = _from(reader, state, shadow.world)
    difference = float((released - state.release).abs().max())
    if difference > 4 * reader.tolerance(state, released):
        return difference
    return _apart_inside(reader, state, shadow.world)


def examine(reader: Reader, state: StepState, shadow: Shadow) -> Diagnosis | None:
    """Run ``state``'s step from the shadow's world; ``None`` if it releases the same.

    ``state`` is a step after the shadow's origin, as it ran on D.
    """
    released = _from(reader, state, shadow.world)
    tolerance = 4 * reader.tolerance(state, released)
    difference = float((released - state.release).abs().max())
    if difference > tolerance:
        return _explain(reader, state, shadow, difference, tolerance)
    inner = _apart_inside(reader, state, shadow.world)
    return _explain_inside(reader, state, shadow, inner) if inner else None


def follow(reader: Reader, state: StepState, shadow: Shadow) -> Shadow:
    """The shadow one step later."""
    _from(reader, state, shadow.world)
    return Shadow(shadow.origin, reader.session.snapshot(), shadow.attributes, shadow.settled, (*shadow.between, state))


def _explain(reader: Reader, state: StepState, shadow: Shadow, difference: float, tolerance: float) -> Diagnosis:
    origin = shadow.origin
    row = describe_row(reader, origin)
    again = f"step {state.step}: with the same data and noise the release differs by {difference:.3g}, although "
    cause = f"step {origin.step} released exactly the same values when {row}"
    if reader.map_reader.internal is not None and not shadow.settled:
        drawn = reader.map_reader.internal.numel()
        message = f"{again}{cause}; {drawn} Gaussian numbers that the step keeps to itself were not shown to cover it"
        return Diagnosis(NoiseClass.UNRESOLVED, unresolved("DPA207", message, origin.draw_line))
    if _coins_matter(reader, state, shadow, tolerance):
        message = f"{again}{cause}; randomness that is not Gaussian takes part, and earns no credit"
        return Diagnosis(NoiseClass.UNRESOLVED, unresolved("DPA206", message, origin.recording.coin_line))
    carriers = _carriers(reader, state, shadow, tolerance)
    named = f" (it is kept in {', '.join(carriers)})" if carriers else ""
    if _after_same_noise(reader, state, shadow, tolerance):
        message = f"{again}{cause}; the difference lies in stored noise: correlated noise needs joint accounting{named}"
        return Diagnosis(NoiseClass.CORRELATED, unresolved("DPA207", message, state.draw_line, origin=origin.step))
    change = _scale_change(reader, state, shadow, tolerance)
    if change is not None:
        scale, channel = change
        worth = "" if channel is None else f"; {channel.words}"
        more = {} if channel is None else channel.evidence
        message = (
            f"step {state.step}: the noise scale changed by {100 * scale:.3g} % although {cause}; a threshold or "
            f"schedule reads private data{named}{worth}"
        )
        problem = proved("DPA202", message, state.draw_line, origin=origin.step, relative_change=scale, **more)
        return Diagnosis(NoiseClass.DATA_DEPENDENT, problem)
    if not carriers or not _data_alone(reader, state, shadow, tolerance, carriers):
        message = f"{again}{cause}; it could not be told whether noise or data carries it{named}"
        return Diagnosis(NoiseClass.CORRELATED, unresolved("DPA207", message, state.draw_line, origin=origin.step))
    message = f"{again}{cause}: private data left the step beside the release{named}"
    evidence: dict[str, Any] = {"origin": origin.step, "difference": difference, "attributes": list(carriers)}
    return Diagnosis(NoiseClass.LEAK, proved("DPA203", message, state.draw_line, **evidence))


def _apart_inside(reader: Reader, state: StepState, world: Snapshot) -> float:
    """How much the values differ that post-processing starts from (largest coordinate); 0 within rounding.

    A sign or a rounding hides at most latents what an earlier step left behind.
    """
    if reader.inside is None:
        return 0.0
    here, there = (_sight_from(reader, state, start, reader.inside) for start in (state.before, world))
    if here is None or there is None:
        return 0.0
    difference = float((there.inner - here.inner).abs().max())
    return difference if difference > 4 * tolerance_of(state, here.inner, there.inner) else 0.0


def _sight_from(reader: Reader, state: StepState, world: Snapshot, inside: Inside) -> Sight | None:
    tracer = Tracer(reader.session.candidate.path, only={inlet.place for inlet in inside.inlets})
    reader.session.restore(world)
    run = reader.session.call(state.base, state.step, state.epoch, replay=state.recording, tracer=tracer)
    return sight(reader.neighbours.sizes, inside, tracer.trace, run.release)


def _explain_inside(reader: Reader, state: StepState, shadow: Shadow, inner: float) -> Diagnosis:
    """Move the latents until the release shows what the values before post-processing do."""
    z = state.recording.latents
    for _ in range(_MOVES):
        latents = z + reader.nudge(z.numel())
        recording = state.recording.moved(latents)
        release = _from(reader, state, state.before, latents)
        moved = replace(state, recording=recording, release=release)
        released = _from(reader, moved, shadow.world)
        tolerance = 4 * reader.tolerance(moved, released)
        difference = float((released - release).abs().max())
        if difference > tolerance:
            return _explain(reader, moved, shadow, difference, tolerance)
    message = (
        f"step {state.step}: with the same data and noise the values before post-processing differ by {inner:.3g}, although "
        f"step {shadow.origin.step} released exactly the same values when {describe_row(reader, shadow.origin)}"
    )
    return Diagnosis(NoiseClass.UNRESOLVED, unresolved("DPA207", message, state.draw_line))


def _from(reader: Reader, state: StepState, world: Snapshot, latents: Tensor | None = None) -> Tensor:
    """The step's release on D, from another world, with its own latents.

    Raises:
        DrawsDiffer: its draws do not correspond to those recorded.
    """
    reader.session.restore(world)
    run = reader.session.call(state.base, state.step, state.epoch, replay=state.recording, latents=latents)
    if run.diverged:
        raise DrawsDiffer(f"step {state.step}: the number or the size of its random draws depends on earlier data")
    reader.report(state.step, state.epoch)
    return run.release


def _world_after(
    reader: Reader, shadow: Shadow, rows: Rows, latents: Tensor | None = None, *, stir: bool = False
) -> Snapshot:
    """The world after another origin and the same steps since."""
    reader.replay(shadow.origin, rows, latents, stir=stir)
    for state in shadow.between:
        _from(reader, state, reader.session.snapshot())
    return reader.session.snapshot()


def _coins_matter(reader: Reader, state: StepState, shadow: Shadow, tolerance: float) -> bool:
    """Whether moving every generator at the origin, with the same Gaussian latents, changes the release now."""
    world = _world_after(reader, shadow, shadow.origin.base, stir=True)
    return not bool(((_from(reader, state, world) - state.release).abs() <= tolerance).all())


def _scale_change(
    reader: Reader, state: StepState, shadow: Shadow, tolerance: float
) -> tuple[float, ScaleChannel | None] | None:
    """Relative change of the noise scale between the shadow and D, with its worth; ``None`` if there is none."""
    z = state.recording.latents
    nudge = reader.map_reader.still(reader.nudge(z.numel()))
    at = _from(reader, state, shadow.world)
    here = _from(reader, state, state.before, z + nudge) - state.release
    there = _from(reader, state, shadow.world, z + nudge) - at
    if not bool(((there - here).abs() > tolerance).any()):
        return None
    for factor in NUDGES:  # a scale is one only where the release is linear in the noise
        far_here = _from(reader, state, state.before, z + factor * nudge) - state.release
        far_there = _from(reader, state, shadow.world, z + factor * nudge) - at
        allowed = 8 * reader.tolerance(state, far_here, far_there) + factor * tolerance
        for far, near in ((far_here, here), (far_there, there)):
            if not bool(((far - factor * near).abs() <= allowed).all()):
                return None
    norm = float(here.norm())
    if not norm > 0:
        return float("inf"), None
    return float(there.norm()) / norm - 1, scale_channel(here, there, reader.neighbours.sizes, reader.real_sizes)


def _carriers(reader: Reader, state: StepState, shadow: Shadow, tolerance: float) -> tuple[str, ...]:
    """Attributes and globals that, put into D's world as they are in the shadow's, change the release."""
    names = dict.fromkeys(root_of(shadow.world, path) for path in shadow.attributes)
    found = []
    for name in names:
        reader.session.restore(state.before)
        reader.session.world.transplant(shadow.world, name)
        run = reader.session.call(state.base, state.step, state.epoch, replay=state.recording)
        if bool(((run.release - state.release).abs() > tolerance).any()):
            found.append(name)
    return tuple(found)


def _after_same_noise(reader: Reader, state: StepState, shadow: Shadow, tolerance: float) -> bool:
    """Whether D' at the origin, with the SAME latents, leads to the same release now: only noise is remembered."""
    released = _from(reader, state, _world_after(reader, shadow, shadow.origin.other))
    return not bool(((released - state.release).abs() > tolerance).any())


def _data_alone(reader: Reader, state: StepState, shadow: Shadow, tolerance: float, carriers: tuple[str, ...]) -> bool:
    """Whether the carriers hold data and no noise: moving the origin's latents leaves what they carry as it was."""
    z = shadow.origin.recording.latents
    world = _world_after(reader, shadow, shadow.origin.base, z + reader.nudge(z.numel()))
    for name in carriers:
        reader.session.restore(state.before)
        reader.session.world.transplant(world, name)
        run = reader.session.call(state.base, state.step, state.epoch, replay=state.recording)
        if bool(((run.release - state.release).abs() > tolerance).any()):
            return False
    return True


def _same(here: Any, there: Any, tolerance: float) -> bool:
    if type(here) is not type(there):
        return False
    if isinstance(here, Tensor):
        if here.shape != there.shape or here.dtype != there.dtype:
            return False
        here, there = here.to(torch.float64).numpy(), there.to(torch.float64).numpy()
    if isinstance(here, list):
        if here == there:
            return True
        if len(here) != len(there) or not all(isinstance(item, int | float) for item in here + there):
            return False
        here, there = np.array(here, dtype=np.float64), np.array(there, dtype=np.float64)
    if isinstance(here, np.ndarray | float | np.floating):
        here, there = np.asarray(here), np.asarray(there)
        if here.shape != there.shape:
            return False
        if not np.issubdtype(here.dtype, np.number):
            return bool((here == there).all())
        largest = max(float(np.max(np.abs(here), initial=0)), float(np.max(np.abs(there), initial=0)))
        return bool(np.allclose(here, there, rtol=0, atol=max(tolerance, 1e-8 * largest), equal_nan=True))
    return bool(here == there)
