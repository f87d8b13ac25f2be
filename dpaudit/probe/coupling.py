"""Read the noise multiplier of one step by output coupling.

Notation: D, D' neighbouring batches; ``out`` the release; z the Gaussian latents of the step; out = a(D) + L z.

Calls from one saved state: D with z moved and every generator moved (reads L); D' with z (reads the change); D' with
the latents shifted so that it must release exactly what D did. If it does, the noise is Gaussian, additive and scaled
alike on both sides, and mu^2 = change^T (L L^T)^-1 change is the squared length of the shift (a linear Gaussian
release; derived here for one step). If it does not, :mod:`dpaudit.probe.diagnosis` says why. Where the change was the
same at earlier steps it is foreseen, and the exact match of the shifted D' confirms it with one call less.

Tolerance: releases are compared to ``rounding`` times their largest coordinate (1e-9 in float64, 3e-6 if any operation
of the candidate rounds to float32). A dependence on data below that is not seen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Canary, Neighbours
from .freshness import DrawHistory, Freshness
from .inside import Inside
from .loading import CandidateError
from .map_reader import MapReader
from .noise_map import Dense, NoiseMap, probe_matrix
from .session import Rows, Session
from .tape import Recording
from .trace import Tracer
from .world import Snapshot

_WATCH_EVERY = 16
_FORESEE_AFTER = 3
_EXACT = 1e-8
NUDGES = (1.0, 30.0, 1000.0)
"""How far latents are moved, in turn: post-processing that is linear near a release only is found by the larger ones."""


@dataclass(slots=True)
class StepState:
    """One step as it ran on D: what is needed to run it again differently."""

    step: int
    epoch: int
    canary: Canary
    base: Rows
    other: Rows
    before: Snapshot
    after: Snapshot
    release: Tensor
    recording: Recording
    reported: float | None
    freshness: Freshness
    draw_line: int | None
    reseeded: bool = False
    reseeded_line: int | None = None


@dataclass(slots=True)
class Coupled:
    """The outcome of a coupling: ``mu``, and whether D' could be made to release what D did."""

    noise: NoiseMap | None
    change: Tensor
    shift: Tensor
    mu: float
    matched: bool
    after: Snapshot | None
    tolerance: float


class DrawsDiffer(Exception):
    """The random draws of a replay do not correspond to those recorded."""


class Reader:
    """Reads steps of one session, in order.

    Args:
        session: the mechanism.
        neighbours: where batches come from.
        seed: of the moved latents.
        real_sizes: coordinates of each parameter at the real shapes; by default those of ``neighbours``.
    """

    def __init__(
        self, session: Session, neighbours: Neighbours, seed: int, real_sizes: Sequence[int] | None = None
    ) -> None:
        self.real_sizes = tuple(neighbours.sizes if real_sizes is None else real_sizes)
        self.session = session
        self.neighbours = neighbours
        self.seed = seed
        self.map_reader = MapReader()
        self.coins_matter = False
        self.internal_guess = torch.zeros(0, dtype=torch.float64)
        self.sigma_error: CandidateError | None = None
        self.inside: Inside | None = None
        self._generator = torch.Generator().manual_seed(seed)
        self._history = DrawHistory()
        self._begun = 0
        self._last_draw_line = session.method_line
        self._foreseen: Tensor | None = None
        self._constant = 0

    def begin(self, step: int, epoch: int, canary: Canary) -> StepState:
        """Run the step on D, for good, and remember how it was before.

        Raises:
            CandidateError: the mechanism raised or its release is malformed.
            UncopyableState: its state cannot be saved.
        """
        base, other = self.neighbours.pair(step, canary)
        before = self.session.snapshot()
        watch = self._begun < 3 or self._begun % _WATCH_EVERY == 0
        self._begun += 1
        run = self.session.call(base, step, epoch, watch=watch)
        lines = (draw.line for draw in run.recording.draws if draw.line is not None)
        self._last_draw_line = next(lines, self._last_draw_line)
        if not bool(torch.isfinite(run.release).all()):
            message = f"step {step}: the released update is not finite on finite gradients"
            raise CandidateError("DPA014", message, self._last_draw_line)
        reported = self.report(step, epoch)
        freshness = self._history.take(run.recording, step)
        return StepState(
            step, epoch, canary, base, other, before, self.session.snapshot(), run.release, run.recording, reported,
            freshness, self._last_draw_line,
        )  # fmt: skip

    def replay(
        self,
        state: StepState,
        rows: Rows,
        latents: Tensor | None = None,
        *,
        stir: bool = False,
        tracer: Tracer | None = None,
    ) -> Tensor:
        """The step's release on other rows or latents, from the state before it.

        Raises:
            DrawsDiffer: its draws do not correspond to those recorded.
        """
        self.session.restore(state.before)
        if stir:
            self.session.world.stir(state.before, 1_000_003 * self.seed + state.step + 1)
        run = self.session.call(
            rows, state.step, state.epoch, replay=state.recording, latents=latents, identify=stir, tracer=tracer
        )
        if run.diverged:
            raise DrawsDiffer(f"step {state.step}: the number or the size of its random draws depends on the data")
        if stir and run.repeated is not None:
            state.reseeded, state.reseeded_line = True, state.recording.draws[run.repeated].line
        return run.release

    def couple(self, state: StepState) -> Coupled:
        """Read L, the change and the shift, and check that the shifted D' releases what D did.

        Raises:
            DrawsDiffer: D' draws other random numbers than D.
        """
        z = state.recording.latents
        nudge = self.map_reader.still(self.nudge(z.numel())) * NUDGES[state.step % len(NUDGES)]
        second = self.replay(state, state.base, z + nudge, stir=not self.coins_matter)
        noise = self._map(state, nudge, second, self.tolerance(state, second))
        foreseen = self._by_foresight(state, noise, self.tolerance(state))
        if foreseen is not None:
            return foreseen
        change = self.replay(state, state.other) - state.release
        tolerance = self.tolerance(state, state.release + change)
        if noise is None:
            return Coupled(None, change, torch.zeros_like(z), math.nan, False, None, tolerance)
        shift, mu = noise.shift(-change, tolerance, state.freshness.fresh)
        if not math.isfinite(mu):
            return Coupled(noise, change, shift, mu, False, None, tolerance)
        matched, after, _ = self.check(state, shift, tolerance)
        if matched and (state.recording.rounding > _EXACT or bool((change.abs() <= tolerance).any())):
            # Equal releases say little about the noise of a coordinate that hardly moved: look at its scale on D'.
            there = self.replay(state, state.other, z + nudge)
            apart = there - state.release - change - noise.apply(nudge)
            matched = bool((apart.abs() <= 4 * self.tolerance(state, there, state.release + change)).all())
        self._foresee(state, change, tolerance)
        return Coupled(noise, change, shift, mu, matched, after, tolerance)

    def sigma(self, coupled: Coupled) -> float:
        """Noise multiplier: noise over the contribution of one row."""
        return self.neighbours.reach / coupled.mu if coupled.mu > 0 else math.inf

    def check(self, state: StepState, shift: Tensor, tolerance: float) -> tuple[bool, Snapshot, Tensor]:
        """Whether D' with shifted latents releases what D did, the world after it, and what it released."""
        coupled = self.replay(state, state.other, state.recording.latents + shift)
        self.report(state.step, state.epoch)
        matched = bool(((coupled - state.release).abs() <= 2 * tolerance).all())
        return matched, self.session.snapshot(), coupled

    def change_of(self, state: StepState, canary: Canary) -> Tensor:
        """How the release changes for another canary at this step, with the same latents."""
        base, other = self.neighbours.pair(state.step, canary)
        changed = self.replay(state, other)
        return changed - (state.release if base is state.base else self.replay(state, base))

    def matrix(self, state: StepState, rows: Rows) -> tuple[Tensor, Tensor]:
        """L at some rows by single probes, and the release there."""
        at = self.replay(state, rows)
        return probe_matrix(lambda z: self.replay(state, rows, z), state.recording.latents, at), at

    def nudge(self, size: int) -> Tensor:
        """Random moves of latents, none of them small."""
        sign = torch.randint(0, 2, (size,), generator=self._generator).to(torch.float64) * 2 - 1
        return sign * (0.5 + torch.rand(size, generator=self._generator, dtype=torch.float64))

    def report(self, step: int, epoch: int) -> float | None:
        """``get_effective_sigma``; ``None`` where it gives no usable number, which is remembered."""
        try:
            return self.session.reported_sigma(step, epoch)
        except CandidateError as error:
            self.sigma_error = self.sigma_error or error
            return None

    @staticmethod
    def tolerance(state: StepState, *releases: Tensor) -> float:
        """Absolute tolerance for comparing releases of one step."""
        return state.recording.rounding * max(float(r.abs().max()) for r in (state.release, *releases) if r.numel())

    def _map(self, state: StepState, nudge: Tensor, second: Tensor, tolerance: float) -> NoiseMap | None:
        return self.map_reader.read(
            state.release,
            state.recording.latents,
            nudge,
            second - state.release,
            tolerance,
            lambda z: self.replay(state, state.base, z),
        )

    def _by_foresight(self, state: StepState, noise: NoiseMap | None, tolerance: float) -> Coupled | None:
        """Couple with the change of the steps before; ``None`` unless D' then releases exactly what D did."""
        change = self._foreseen
        if change is None or noise is None or isinstance(noise, Dense) or self._constant < _FORESEE_AFTER:
            return None
        shift, mu = noise.shift(-change, tolerance, state.freshness.fresh)
        if not math.isfinite(mu):
            return None
        matched, after, coupled = self.check(state, shift, tolerance)
        if not matched:
            self._constant = 0
            return None
        change = change + (coupled - state.release)
        return Coupled(
            noise, change, shift, noise.shift(-change, tolerance, state.freshness.fresh)[1], True, after, tolerance
        )

    def _foresee(self, state: StepState, change: Tensor, tolerance: float) -> None:
        """Remember the change; foresight needs it to have been the same, in every coordinate large, a few times."""
        last, self._foreseen = self._foreseen, change
        same = last is not None and bool(((last - change).abs() <= 2 * tolerance).all())
        sharp = state.recording.rounding <= _EXACT and bool((change.abs() > 100 * tolerance).all())
        self._constant = self._constant + 1 if same and sharp else 0
