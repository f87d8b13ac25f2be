"""Moments of a run at which a mechanism is examined: its state after real steps, and what one call there shows.

Notation: z the Gaussian latents of the call, out = a + L z the release, D and D' neighbouring batches (D' holds the row).
All calls of a moment start from the same saved state and draw the same latents; a is read with z = 0, so the noise does
not blur the contribution.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dpaudit.probe.loading import CandidateError
from dpaudit.probe.noise_map import Dense, Diagonal, NoiseMap, probe_matrix, structure_of
from dpaudit.probe.session import Session
from dpaudit.probe.tape import Recording
from dpaudit.probe.world import Snapshot

from .batches import Beside, Geometry
from .gradients import RowPattern, row_of
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
    _readings: dict[Beside, Reading] = field(default_factory=dict)

    def row(self, pattern: RowPattern) -> Tensor:
        """The pattern's row in this session's precision."""
        g = self.geometry
        return row_of(pattern, g.sizes, g.bound, self.session.dtype, release=self.release)

    def batch(self, flat: Tensor) -> list[Tensor]:
        """Rows as the mechanism gets them."""
        return self.geometry.tensors(flat, self.session.dtype)

    def replay(self, recording: Recording, flat: Tensor, latents: Tensor) -> Tensor:
        """The release on other rows with other latents, from the saved state.

        Raises:
            Unreadable: the number or the size of the random draws depends on the rows.
        """
        self.session.restore(self.before)
        run = self.session.call(self.batch(flat), self.step, self.epoch, replay=recording, latents=latents)
        if run.diverged:
            raise Unreadable(f"step {self.step}: the number or the size of the random draws depends on the data")
        return run.release

    def reading(self, beside: Beside) -> Reading:
        """Read the call on the other rows with a zero row (or none) in the differing place. Cached.

        Raises:
            CandidateError: the mechanism raised.
            Unreadable: the release is not an affine function of its Gaussian latents, or there are too many.
        """
        if beside not in self._readings:
            zero = torch.zeros(sum(self.geometry.sizes), dtype=self.session.dtype)
            flat = self.geometry.without(beside, zero)
            self._readings[beside] = (self._reread(flat) if self.forms else None) or self.read(flat)
        return self._readings[beside]

    def _reread(self, flat: Tensor) -> Reading | None:
        """Read one call by the known form of L; ``None`` if it does not hold here."""
        try:
            recording, at, noise = self.renewed(flat, self.forms[0])
        except Unreadable:
            return None
        nudge = _nudge(recording.latents.numel(), self.step)
        self.session.restore(self.before)
        self.session.call(self.batch(flat), self.step, self.epoch)
        reported = self._reported()
        response = self.replay(recording, flat, nudge) - at
        expected = noise.apply(nudge)
        reach = max(float(at.abs().max()), float(expected.abs().max()))
        tolerance = recording.rounding * reach
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
        tolerance = recording.rounding * reach
        nudge = _nudge(count, self.step)
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
        tolerance = recording.rounding * max(float(at.abs().max()), float(response.abs().max()))
        match form:
            case Diagonal():
                idle = form.source < 0
                if bool((response[idle].abs() <= 16 * tolerance).all()):
                    return recording, at, Diagonal(form.source, torch.where(idle, 0.0, response))
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
        tolerance = max(reading.tolerance, reading.recording.rounding * float(there.abs().max()))
        ratio = None
        if not bool(((moved - reading.response).abs() <= 8 * tolerance).all()):
            size = float(reading.response.norm())
            ratio = float(moved.norm()) / size if size > 0 else math.inf
        fresh = torch.ones(reading.latents, dtype=torch.bool)
        change = torch.where(change.abs() <= tolerance, 0.0, change)
        mu = reading.noise.shift(change, reading.tolerance, fresh)[1] / g.reach
        sigma = math.inf if mu == 0 else 0.0 if math.isinf(mu) else 1 / mu
        return Effect(sigma, float(change.norm()) / g.reach, ratio, True)

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


def _nudge(size: int, seed: int) -> Tensor:
    """Moves of latents, none of them small."""
    generator = torch.Generator().manual_seed(seed + 1)
    sign = torch.randint(0, 2, (size,), generator=generator).to(torch.float64) * 2 - 1
    return sign * (0.5 + torch.rand(size, generator=generator, dtype=torch.float64))
