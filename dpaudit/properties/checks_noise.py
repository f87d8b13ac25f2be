"""Checks of the noise itself: unbounded and Gaussian, independent, fresh, and the same when nothing watches.

The latents are identified by the tape's model (out = a + L z); their statistics are those of calls that no tape watches.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import PlainData, RunConfig, Severity, Strength
from dpaudit.probe.inside import Inside
from dpaudit.probe.noise_map import Diagonal, NoiseMap
from dpaudit.probe.problem import Problem
from dpaudit.probe.session import HALF, Session
from dpaudit.probe.work_clock import worked

from .batches import Beside, Geometry
from .inner import inner_rounding
from .moments import Moment
from .noise_tests import GATE_ALPHA, Battery, Floats, confirmed, known_scale, unknown_scale
from .readings import Unreadable
from .rounded_noise import rounded_noise, zeros_beside

LADDER = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
"""Sizes of latents at which the release must still follow them; beyond 7 a Gaussian never goes in practice."""

_FAR = 1e4
_CALLS = 160
_FEWEST_CALLS = 60


def bounded_noise(moment: Moment, beside: Beside, config: RunConfig, sigma: float) -> Problem | None:
    """Whether the release stops following its Gaussian latents beyond some size (clamped, truncated, squashed noise).

    Args:
        sigma: the smallest noise multiplier demonstrated at this moment.

    Raises:
        Unreadable: the moment cannot be read.
        CandidateError: the mechanism raised.
    """
    reading = moment.reading(beside)
    flat = zeros_beside(moment, beside)

    def seen(size: float) -> Tensor:
        z = torch.full_like(reading.nudge, size)
        return moment.replay(reading.recording, flat, z) - reading.at

    for rung in LADDER:
        expected = reading.noise.apply(torch.full_like(reading.nudge, rung))
        allowed = 16 * (1 + rung) * reading.tolerance
        if bool(((seen(rung) - expected).abs() <= allowed).all() and ((seen(-rung) + expected).abs() <= allowed).all()):
            continue
        saturates = bool((seen(_FAR).abs() <= expected.abs() + allowed).all())
        return _bounded(moment, reading.line, rung, saturates, config, sigma)
    return None


def _bounded(
    moment: Moment, line: int | None, rung: float, saturates: bool, config: RunConfig, sigma: float
) -> Problem:
    """The finding. Beyond a hard bound an output shows for certain that the row is there, whatever epsilon is."""
    reach = 1 / sigma if sigma > 0 else 0.0
    beyond = 0.5 * math.erfc((rung - reach) / math.sqrt(2))
    revealing = config.sampling_probability * beyond if saturates else 0.0
    hard = (
        f"; it is bounded there, and an output beyond shows that a row was in the batch (probability {revealing:.2g} in one "
        f"step, delta is {config.target_delta:g})"
    )
    message = (
        f"step {moment.step}: the noise is not Gaussian: the release stops following it beyond {rung:g} standard "
        f"deviations{hard if saturates else ''}"
    )
    evidence: dict[str, PlainData] = {"bound": rung, "saturates": saturates, "probability_per_step": revealing}
    severity = Severity.CRITICAL if revealing > config.target_delta else Severity.MAJOR
    return Problem("DPA214", severity, Strength.PROOF, message, line, evidence)


def coarse_noise(moment: Moment, beside: Beside, config: RunConfig) -> Problem | None:
    """Whether Gaussian noise is drawn in half precision, or rounded to it before it is added.

    It then takes so few values that the sum's low bits come through. What that costs is :mod:`.support_event`'s question.

    Raises:
        Unreadable: the moment cannot be read.
        CandidateError: the mechanism raised.
    """
    flat = zeros_beside(moment, beside)
    moment.session.restore(moment.before)
    recording = moment.session.call(moment.batch(flat), moment.step, moment.epoch, watch=True).recording
    dtype, line, verb = recording.half, recording.half_line, "drawn in"
    if dtype is None and recording.rounding >= HALF:
        rounded = rounded_noise(moment, recording, beside, config)
        dtype, verb = None if rounded is None else rounded.dtype, "rounded to"
        line = next((draw.line for draw in recording.draws), None)
    if dtype is None:
        return None
    name = str(dtype).removeprefix("torch.")
    message = (
        f"step {moment.step}: noise is {verb} {name}, which has at most 65,536 values: added to a more precise sum it leaves "
        "the sum's low bits as they are (Mironov 2012), and the accounting of real-valued noise does not hold"
    )
    return Problem("DPA214", Severity.MAJOR, Strength.PROOF, message, line, {"dtype": name})


def noise_statistics(
    make_session: Callable[[int], Session],
    config: RunConfig,
    geometry: Geometry,
    beside: Beside,
    deadline: float,
    seed: int,
    inside: Inside | None = None,
) -> Battery:
    """The battery on latents of unwatched calls at consecutive steps of one run, or of several where a run is short.

    Each step is called without a tape, then read again from the same state with one: a and L of that state come from the
    replay, the residual from the unwatched release. Every run begins with a fresh object whose generators, also those that
    its code seeds, are moved to a place of their own (a seed in the code is a finding by itself: :func:`fixed_seed`).

    Args:
        make_session: a fresh mechanism, from a seed.
        seed: of this battery; two batteries need different ones.
        inside: the values before post-processing, to be tested in place of the release.

    Raises:
        Unreadable: the noise cannot be read at some step, or too few steps fit into the time.
        CandidateError: the mechanism raised.
    """
    length = min(config.total_steps, _CALLS)
    runs: list[Floats] = []
    form: NoiseMap | None = None
    while len(runs) * length < _CALLS and worked() <= deadline:
        # Far apart, so that no two runs of the two batteries share a seed.
        session = make_session(seed + 1_000_003 * len(runs))
        session.world.stir(session.snapshot(), seed + 1_000_003 * len(runs) + 17)
        run, form = _run_residuals(session, config, geometry, beside, form, inside, length, deadline)
        if len(run) and (not runs or len(run) == len(runs[0])):
            runs.append(run)  # one that the end of the time cut short counts only if it is the first
        if len(run) < length:
            break
    calls = sum(map(len, runs))
    if calls < _FEWEST_CALLS:
        raise Unreadable(f"{calls} calls are too few for a statistical test of the noise")
    if any(run.shape != runs[0].shape for run in runs):
        raise Unreadable("the number of directions in which the noise moves changes from run to run")
    return known_scale(np.concatenate(runs), run_length=len(runs[0]))


def _run_residuals(
    session: Session,
    config: RunConfig,
    geometry: Geometry,
    beside: Beside,
    form: NoiseMap | None,
    inside: Inside | None,
    length: int,
    deadline: float,
) -> tuple[Floats, NoiseMap | None]:
    """Standardised noise of the first ``length`` steps of one run, [steps, coordinates]; fewer steps if time is up.

    The form of L is that of the first step for as long as it holds.
    """
    residuals: list[Floats] = []
    for step in range(length):
        if worked() > deadline:
            break
        moment = Moment(session, geometry, session.snapshot(), step, config.epoch_of(step), "", beside.content, None)
        flat = zeros_beside(moment, beside)
        moment.inside = inside
        if form is None:
            form = moment.read(flat).noise
            session.restore(moment.before)
        seen = moment.unwatched(flat)
        session.reported_sigma(step, moment.epoch)
        after = session.snapshot()
        try:
            recording, at, noise = moment.renewed(flat, form)
        except Unreadable:  # L changes by more than its scale: read it latent by latent, which takes longer
            reading = moment.read(flat)
            recording, at, noise = reading.recording, reading.at, reading.noise
        if inside is not None:
            _check_places(moment, seen, at + noise.apply(recording.latents))
        residuals.append(latents_of(noise, seen - at))
        session.restore(after)
    if not all(len(z) == len(residuals[0]) > 0 for z in residuals):
        raise Unreadable("the number of directions in which the noise moves changes from step to step, or is zero")
    return np.array(residuals), form


def _check_places(moment: Moment, seen: Tensor, modelled: Tensor) -> None:
    """Without a tape other operations may run for the draws: what was seen must be what the tape's model of the draws says.

    Raises:
        Unreadable: it is not, so another value than the one meant may have been seen.
    """
    allowed = 64 * inner_rounding(moment) * max(float(seen.abs().max()), float(modelled.abs().max()))
    if not bool(((seen - modelled).abs() <= allowed).all()):
        raise Unreadable(f"step {moment.step}: the values before post-processing are not those of a watched call")


def shape_statistics(moment: Moment, beside: Beside, seed: int, calls: int = _CALLS) -> Battery:
    """The battery on releases of one state with freshly seeded generators: for noise that the tape cannot identify.

    Raises:
        Unreadable: the release does not move.
        CandidateError: the mechanism raised.
    """
    session, flat = moment.session, zeros_beside(moment, beside)
    releases = []
    for call in range(calls):
        session.restore(moment.before)
        session.world.stir(moment.before, 7919 * (seed + 1) + 104_729 * call)
        releases.append(session.call_unwatched(moment.batch(flat), moment.step, moment.epoch).numpy())
    try:
        return unknown_scale(np.stack(releases))
    except ValueError as error:
        raise Unreadable(f"step {moment.step}: {error}") from error


def refuted(first: Battery, second: Battery, line: int | None, reported: float | None) -> Problem | None:
    """The finding of two batteries with fresh seeds that reject the same tests; ``None`` if none does twice."""
    names = confirmed(first, second)
    if not names:
        return None
    p_values: dict[str, PlainData] = {name: second.p_values[name] for name in names}
    message = (
        f"the noise is not independent standard Gaussian noise at the stated scale: {', '.join(names)} rejected at level "
        f"{GATE_ALPHA:g}, and again with fresh seeds ({second.samples} values each)"
    )
    evidence: dict[str, PlainData] = {"p_values": p_values, "alpha": GATE_ALPHA, "samples": second.samples}
    scale = max(first.scale_upper, second.scale_upper)
    if "scale (lower tail)" in names and reported is not None and math.isfinite(scale):
        evidence["sigma_upper"] = reported * scale
    return Problem("DPA214", Severity.MAJOR, Strength.STATISTICAL, message, line, evidence)


def latents_of(noise: NoiseMap, residual: Tensor) -> Floats:
    """Independent standard normal coordinates of a residual L z: one for each direction in which L moves."""
    match noise:
        case Diagonal():
            moving = (noise.source >= 0) & (noise.scale != 0)
            return np.asarray((residual[moving] / noise.scale[moving]).numpy())
        case _:
            left, singular, _ = torch.linalg.svd(noise.matrix, full_matrices=False)
            kept = singular > 1e-9 * float(singular.max()) if singular.numel() else singular > 0
            return np.asarray(((left[:, kept].T @ residual) / singular[kept]).numpy())


def fixed_seed(
    make_session: Callable[[torch.dtype, int], Session], geometry: Geometry, beside: Beside
) -> Problem | None:
    """Whether the noise stays the same when every generator that a user can seed is seeded anew.

    Raises:
        CandidateError: the mechanism raised.
    """
    releases, line, drawn = [], None, False
    for seed in (1, 2):
        session = make_session(torch.float32, seed)
        moment = Moment(session, geometry, session.snapshot(), 0, 1, "", beside.content, None)
        run = session.call(moment.batch(zeros_beside(moment, beside)), 0, 1)
        releases.append(run.release)
        line = next((draw.line for draw in run.recording.draws), None)
        drawn = bool(run.recording.draws)
    if not drawn or not torch.equal(*releases):
        return None
    message = (
        "two objects made under different seeds release the same noise: its seed stands in the code, so whoever reads the "
        "code can subtract it"
    )
    return Problem("DPA205", Severity.MINOR, Strength.PROOF, message, line, {})
