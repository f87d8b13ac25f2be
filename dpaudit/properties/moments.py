"""Moments of a run at which a mechanism is examined: its state after real steps, and what one call there shows.

Notation: z the Gaussian latents of the call, out = a + L z the release, D and D' neighbouring batches (D' holds the row).
All calls of a moment start from the same saved state and draw the same latents; a is read with z = 0, so the noise does
not blur the contribution.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dpaudit.probe.inside import Inside
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.noise_map import Dense, Diagonal, NoiseMap, probe_matrix, structure_of
from dpaudit.probe.post_processing import sight
from dpaudit.probe.session import Session
from dpaudit.probe.tape import Recording
from dpaudit.probe.trace import Tracer
from dpaudit.probe.world import Snapshot

from .batches import Beside, Geometry
from .gradients import RowPattern, row_of
from .inner import confirm, find_inner, inner_rounding, moves_of, tracer_of
from .readings import Effect, Reading, Unreadable

LATENT_LIMIT = 400


@dataclass(slots=True)
class Moment:
    """A saved state of one session, before the call of ``step``.

    Attributes:
        label: the moment in words.
        history: content of the rows at every step before.
        release: the last released update, for rows that follow it.
        forms: the form of L once it is known; shared by the moments of one precision.
        inside: the values before post-processing, where the release is no affine function of the latents.
    """

    session: Session
    geometry: Geometry
    before: Snapshot
    step: int
    epoch: int
    label: str
    history: str
    release: Tensor | None
    forms: list[NoiseMap] = field(default_factory=list)
    inside: Inside | None = None
    _looked: bool = False
    _readings: dict[Beside, Reading] = field(default_factory=dict)

    def row(self, pattern: RowPattern) -> Tensor:
        """The pattern's row in this session's precision."""
        g = self.geometry
        return row_of(pattern, g.sizes, g.bound, self.session.dtype, release=self.release)

    def batch(self, flat: Tensor) -> list[Tensor]:
        """Rows as the mechanism gets them."""
        return self.geometry.tensors(flat, self.session.dtype)

    def replay(self, recording: Recording, flat: Tensor, latents: Tensor) -> Tensor:
        """The release on other rows with other latents, from the saved state; ``inside`` values instead, if there are any.

        Raises:
            Unreadable: the number or the size of the random draws depends on the rows, or the call passes other places.
        """
        tracer = tracer_of(self)
        return self._seen(self.release_on(recording, flat, latents, tracer=tracer), tracer)

    def release_on(
        self, recording: Recording, flat: Tensor, latents: Tensor, *, tracer: Tracer | None = None
    ) -> Tensor:
        """The release itself on other rows with other latents, from the saved state.

        Raises:
            Unreadable: the number or the size of the random draws depends on the rows.
        """
        self.session.restore(self.before)
        run = self.session.call(
            self.batch(flat), self.step, self.epoch, replay=recording, latents=latents, tracer=tracer
        )
        if run.diverged:
            raise Unreadable(f"step {self.step}: the number or the size of the random draws depends on the data")
        return run.release

    def unwatched(self, flat: Tensor) -> Tensor:
        """As :meth:`replay`, of a call without a tape from the world as it is: it draws for itself."""
        tracer = tracer_of(self)
        return self._seen(self.session.call_unwatched(self.batch(flat), self.step, self.epoch, tracer=tracer), tracer)

    def rounding(self, recording: Recording) -> float:
        """Relative rounding of what is looked at: values before post-processing do not show its rounding."""
        return recording.rounding if self.inside is None else inner_rounding(self)

    def _seen(self, release: Tensor, tracer: Tracer | None) -> Tensor:
        if tracer is None or self.inside is None:
            return release
        seen = sight(self.geometry.sizes, self.inside, tracer.trace, release)
        if seen is None:
            raise Unreadable(f"step {self.step}: a call does not pass the values before post-processing that others do")
        return seen.inner

    def reading(self, beside: Beside) -> Reading:
        """Read the call on the other rows with a zero row (or none) in the differing place. Cached.

        Raises:
            CandidateError: the mechanism raised.
            Unreadable: the release is not an affine function of its Gaussian latents, or there are too many.
        """
        if beside not in self._readings:
            zero = torch.zeros(sum(self.geometry.sizes), dtype=self.session.dtype)
            flat = self.geometry.without(beside, zero)
            self.look_inside(flat)
            self._readings[beside] = (self._reread(flat) if self.forms else None) or self.read(flat)
        return self._readings[beside]

    def look_inside(self, flat: Tensor) -> None:
        """Look once whether the release of this state is post-processed, and from which values.

        Raises:
            CandidateError: the mechanism raised.
        """
        if self._looked:
            return
        self._looked = True
        self.session.restore(self.before)
        recording = self.session.call(self.batch(flat), self.step, self.epoch, watch=True).recording
        if recording.latents.numel() > LATENT_LIMIT:
            return
        known, nudge = self.forms, moves_of(recording.latents.numel(), self.step + 1)
        try:
            for found in find_inner(self, recording, flat, nudge):
                self.inside, self.forms = found, []  # forms of the release say nothing about the values before it
                if self._is_readable(flat):
                    return
                self.inside = None
        except Unreadable:
            pass  # what cannot be looked into is judged as it is released
        self.inside, self.forms = None, known

    def _is_readable(self, flat: Tensor) -> bool:
        try:
            self.read(flat)
        except Unreadable:
            return False
        return True

    def _reread(self, flat: Tensor) -> Reading | None:
        """Read one call by the known form of L; ``None`` if it does not hold here."""
        try:
            recording, at, noise = self.renewed(flat, self.forms[0])
        except Unreadable:
            return None
        nudge = moves_of(recording.latents.numel(), self.step + 1)
        self.session.restore(self.before)
        self.session.call(self.batch(flat), self.step, self.epoch)
        reported = self._reported()
        response = self.replay(recording, flat, nudge) - at
        expected = noise.apply(nudge)
        reach = max(float(at.abs().max()), float(expected.abs().max()))
        tolerance = self.rounding(recording) * reach
        if not bool(torch.isfinite(at).all() and ((response - expected).abs() <= 16 * tolerance).all()):
            return None
        return Reading(recording, at, noise, nudge, response, tolerance, reported)

    def read(self, flat: Tensor) -> Reading:
        """Read one call, watched, latent by latent.

        Raises:
            CandidateError: the mechanism raised.
            Unreadable: the release is not an affine function of its latents, or there are too many.
        """
        self.session.restore(self.before)
        run = self.session.call(self.batch(flat), self.step, self.epoch, watch=True)
        reported = self._reported()
        recording = run.recording
        count = recording.latents.numel()
        if count > LATENT_LIMIT:
            raise Unreadable(f"step {self.step}: {count} Gaussian draws, at most {LATENT_LIMIT} can be read")
        zeros = torch.zeros(count, dtype=torch.float64)
        at = self.replay(recording, flat, zeros)
        if not bool(torch.isfinite(at).all()):
            raise Unreadable(f"step {self.step}: the release is not finite on zero or moderate rows")
        matrix = probe_matrix(lambda z: self.replay(recording, flat, z), zeros, at)
        reach = max(float(at.abs().max()), float(matrix.abs().max()) if matrix.numel() else 0.0)
        tolerance = self.rounding(recording) * reach
        nudge = moves_of(count, self.step + 1)
        response = self.replay(recording, flat, nudge) - at
        if not bool(((response - matrix @ nudge).abs() <= 16 * tolerance).all()):
            raise Unreadable(f"step {self.step}: the release is not an affine function of the Gaussian draws")
        noise = structure_of(matrix, tolerance)
        if not self.forms:
            self.forms.append(noise)
        return Reading(recording, at, noise, nudge, response, tolerance, reported)

    def renewed(self, flat: Tensor, form: NoiseMap) -> tuple[Recording, Tensor, NoiseMap]:
        """The draws, a and L of the call on some rows, where only the SCALE of a known form of L is read anew.

        Raises:
            Unreadable: L has another form here.
        """
        self.session.restore(self.before)
        recording = self.session.call(self.batch(flat), self.step, self.epoch).recording
        ones = torch.ones_like(recording.latents)
        at = self.replay(recording, flat, torch.zeros_like(ones))
        response = self.replay(recording, flat, ones) - at
        tolerance = self.rounding(recording) * max(float(at.abs().max()), float(response.abs().max()))
        match form:
            case Diagonal():
                idle = form.source < 0
                renewed = Diagonal(form.source, torch.where(idle, 0.0, response))
                # One move gives a scale to every coordinate, whatever L is: another tells whether L is that.
                moves = moves_of(ones.numel(), self.step + 1)
                moved = self.replay(recording, flat, moves) - at
                if bool(((moved - renewed.apply(moves)).abs() <= 16 * tolerance).all()):
                    return recording, at, renewed
            case Dense() if form.matrix.shape[1] == ones.numel():
                expected = form.matrix @ ones
                factor = float(expected @ response) / max(float(expected @ expected), 1e-300)
                if bool(((factor * expected - response).abs() <= 16 * tolerance).all()):
                    return recording, at, Dense(factor * form.matrix)
            case _:
                pass
        raise Unreadable(f"step {self.step}: the noise changes its form from step to step")

    def effect(self, beside: Beside, row: Tensor) -> Effect:
        """What the row does, against the noise of the call without it.

        Raises:
            CandidateError: the mechanism raised on D'.
            Unreadable: see :meth:`reading` and :meth:`replay`.
        """
        reading, g = self.reading(beside), self.geometry
        zeros = torch.zeros_like(reading.nudge)
        absent = reading.at
        if g.reach != 1:
            absent = self.replay(reading.recording, g.without(beside, row), zeros)
        other = g.with_row(beside, row)
        there = self.replay(reading.recording, other, zeros)
        if not bool(torch.isfinite(there).all()):
            return Effect(math.nan, math.nan, None, False)
        change = there - absent
        moved = self.replay(reading.recording, other, reading.nudge) - there
        tolerance = max(reading.tolerance, self.rounding(reading.recording) * float(there.abs().max()))
        ratio = None
        if not bool(((moved - reading.response).abs() <= 8 * tolerance).all()):
            size = float(reading.response.norm())
            ratio = float(moved.norm()) / size if size > 0 else math.inf
        fresh = torch.ones(reading.latents, dtype=torch.bool)
        change = torch.where(change.abs() <= tolerance, 0.0, change)
        shift, mu = reading.noise.shift(-change, reading.tolerance, fresh)
        finite = True
        if self.inside is not None and ratio is None and math.isfinite(mu):
            finite = confirm(self, reading, (g.without(beside, row), other), shift, tolerance)
        sigma = math.inf if mu == 0 else 0.0 if math.isinf(mu) else g.reach / mu
        return Effect(sigma, float(change.norm()) / g.reach, ratio, finite)

    def latent_count(self, flat: Tensor) -> int:
        """Number of distinct Gaussian latents of the call on some rows."""
        self.session.restore(self.before)
        return self.session.call(self.batch(flat), self.step, self.epoch, watch=True).recording.latents.numel()

    def coin_line(self, flat: Tensor) -> int | None:
        """Line of the first random draw that is not Gaussian, else of the first Gaussian one."""
        self.session.restore(self.before)
        recording = self.session.call(self.batch(flat), self.step, self.epoch, watch=True).recording
        return recording.coin_line or next((draw.line for draw in recording.draws), None)

    def _reported(self) -> float | None:
        try:
            return self.session.reported_sigma(self.step, self.epoch)
        except CandidateError:
            return None
