"""All steps of a run at small shapes: read each one, follow what it leaves behind, search for the worst row."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from dpaudit.contract import NoiseClass, RunConfig, Severity, Strength

from .candidates import HUGE, SPREAD, Canary
from .coupling import Coupled, DrawsDiffer, Reader, StepState
from .diagnosis import Diagnosis, diagnose, draws_differ
from .hidden_state import Shadow, differing, differs, examine, follow
from .internal_noise import settle
from .loading import CandidateError
from .problem import Problem, unresolved
from .world import UncopyableState

_DIAGNOSED = 3
"""After so many diagnoses of one kind a further mismatch gets the same class without a new diagnosis."""
_SHADOW_EVERY = 16
_UNWATCHED = 3
_SHADOW_DEPTH = 2
_GAIN = 1.001


@dataclass(slots=True)
class Survey:
    """What was read, in run order. ``problems`` holds the first of each kind."""

    reported: list[float | None] = field(default_factory=list)
    measured: list[float | None] = field(default_factory=list)
    classes: list[NoiseClass] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    canary: Canary = field(default_factory=lambda: Canary(SPREAD, HUGE))
    complete: bool = False
    demonstrated: bool = True
    coins_matter: bool = False

    def fill(self, total: int) -> None:
        """Make every list ``total`` long; steps that were not read are UNRESOLVED."""
        self.classes += [NoiseClass.UNRESOLVED] * (total - len(self.classes))
        self.measured += [None] * (total - len(self.measured))
        self.reported += [None] * (total - len(self.reported))

    def add(self, problem: Problem) -> None:
        """Keep the first problem of each rule and line."""
        if all(problem.key != other.key for other in self.problems):
            self.problems.append(problem)


class Surveyor:
    """Reads the steps of one session in order.

    Args:
        reader: of the session.
        config: the run.
        survey: filled in.
        deadline: on ``time.monotonic``; steps not reached by then stay unread.
        progress: called with (steps done, steps in all).
    """

    def __init__(
        self,
        reader: Reader,
        config: RunConfig,
        survey: Survey,
        *,
        deadline: float,
        progress: Callable[[int, int], None],
    ) -> None:
        self.reader = reader
        self.config = config
        self.deadline = deadline
        self.progress = progress
        self.survey = survey
        self._shadows: list[Shadow] = []
        self._diagnosed: dict[tuple[NoiseClass, str], int] = {}
        self._leaks: dict[NoiseClass, int] = {}
        self._evades = False
        self._settled_at = -1
        self._stored_noise = False

    def run(self, steps: list[int]) -> Survey:
        """Read these steps; one that cannot be read is UNRESOLVED, and so is every step after an exception."""
        survey, reader = self.survey, self.reader
        for count, step in enumerate(steps):
            if time.monotonic() > self.deadline:
                survey.notes.append(f"time was up after {count} of {len(steps)} steps; the rest was not read")
                break
            try:
                self._step(step, search=count in _search_at(len(steps)))
            except CandidateError as error:
                survey.add(failure(error))
                break
            except UncopyableState as error:
                survey.add(unresolved("DPA207", f"step {step}: {error}; nothing can be replayed", None))
                break
            self.progress(count + 1, len(steps))
        survey.complete = len(survey.classes) == len(steps)
        survey.coins_matter = reader.coins_matter
        survey.demonstrated = survey.demonstrated and not reader.coins_matter
        if self._settled_at >= 0:
            survey.demonstrated = False
            survey.notes.append(
                "the mechanism keeps noisy values for itself; measured counts what they reveal as if they were released, "
                "so that it is no upper bound on the noise multiplier of the release alone"
            )
        if reader.sigma_error is not None:
            survey.add(failure(reader.sigma_error))
        survey.fill(len(steps))
        return survey

    def _step(self, step: int, *, search: bool) -> None:
        survey, reader = self.survey, self.reader
        state = reader.begin(step, self.config.epoch_of(step), survey.canary)
        survey.reported.append(state.reported)
        if len(survey.reported) <= _UNWATCHED and not self._same_unwatched(state):
            self._evades = True
        noise_class, measured = NoiseClass.UNRESOLVED, None
        if not self._evades:
            inherited = self._examine_shadows(state)
            noise_class, measured = self._read(state, inherited, search=search)
        survey.classes.append(noise_class)
        survey.measured.append(measured)
        reader.session.restore(state.after)

    def _read(self, state: StepState, inherited: Diagnosis | None, *, search: bool) -> tuple[NoiseClass, float | None]:
        """Class and noise multiplier of a step, given what an earlier step left behind for it."""
        own, coupled = self._couple(state)
        if state.reseeded:
            self.survey.add(_reseeded(state))
        if own.noise_class is NoiseClass.NO_FRESH_NOISE:
            correlated = inherited is not None and inherited.noise_class is NoiseClass.CORRELATED
            if correlated or (self._stored_noise and not state.recording.draws):
                self._stored_noise = True
                own = _noise_of_before(own)
            elif inherited is not None:
                self._note(inherited)
            self._note(own)
            return own.noise_class, 0.0
        self._note(own)
        if inherited is not None:
            self._note(inherited)
        if own.noise_class is not NoiseClass.CLEAN or coupled is None:
            return own.noise_class, None
        if search and self._settled_at != state.step:
            coupled = self._search(state, coupled)
        self._cast_shadow(state, coupled)
        if inherited is not None:
            return inherited.noise_class, None
        if search:
            self._check_attained(state, coupled)
            self._check_alone(state, coupled)
        return NoiseClass.CLEAN, self.reader.sigma(coupled)

    def _check_attained(self, state: StepState, coupled: Coupled) -> None:
        """Whether accounting a Gaussian of this noise multiplier is accounting this pair.

        It is if the release without the row lies where it should: on D's, or half-way between a row and its opposite.
        """
        reader = self.reader
        batch = reader.neighbours.without(state.step)
        if batch is None or not self.survey.demonstrated:
            return
        try:
            apart = reader.replay(state, batch) - state.release
        except DrawsDiffer:
            apart = torch.full_like(state.release, math.inf)
        expected = (1 - 1 / reader.neighbours.reach) * coupled.change
        if not bool(((apart - expected).abs() <= 4 * coupled.tolerance).all()):
            self.survey.demonstrated = False
            self.survey.notes.append(
                f"step {state.step}: the release without the row is not where the accounted pair needs it, so that no "
                "lower end of epsilon follows from measured"
            )

    def _check_alone(self, state: StepState, coupled: Coupled) -> None:
        """Whether the row contributes what it does whatever the other rows are.

        If not, the accounted pair would need the other rows in every batch, and the sampler draws them at random: no lower
        end of epsilon follows.
        """
        reader = self.reader
        if not self.survey.demonstrated or reader.neighbours.quiet:
            return
        try:
            silent, other = (
                reader.replay(state, rows) for rows in reader.neighbours.pair_alone(state.step, state.canary)
            )
            apart = other - silent
        except DrawsDiffer:
            apart = torch.full_like(state.release, math.inf)
        if not bool(((apart - coupled.change).abs() <= 4 * coupled.tolerance).all()):
            self.survey.demonstrated = False
            self.survey.notes.append(
                f"step {state.step}: what a row contributes depends on the other rows of the batch, which the sampler draws "
                "at random: measured holds for the batches shown, and no lower end of epsilon follows from it"
            )

    def _same_unwatched(self, state: StepState) -> bool:
        """Whether the mechanism releases the same, bit for bit, when nothing watches it."""
        session = self.reader.session
        session.restore(state.before)
        alone = session.call_unwatched(state.base, state.step, state.epoch)
        if torch.equal(alone, state.release):
            return True
        message = f"step {state.step}: the mechanism releases other values when it is not watched"
        self.survey.add(unresolved("DPA207", message, state.draw_line))
        return False

    def _couple(self, state: StepState) -> tuple[Diagnosis, Coupled | None]:
        try:
            coupled = self.reader.couple(state)
        except DrawsDiffer as error:
            return draws_differ(error, state), None
        if self.reader.map_reader.internal is not None and coupled.noise is not None:
            coupled = self._settle(state, coupled)
        if coupled.matched:
            return Diagnosis(NoiseClass.CLEAN, None), coupled
        kind = _kind(coupled)
        for (noise_class, known), times in self._diagnosed.items():
            if known == kind and times >= _DIAGNOSED and noise_class is not NoiseClass.CLEAN:
                return Diagnosis(noise_class, None), None
        diagnosis = diagnose(self.reader, state, coupled)
        key = (diagnosis.noise_class, kind)
        self._diagnosed[key] = self._diagnosed.get(key, 0) + 1
        return diagnosis, diagnosis.coupled

    def _settle(self, state: StepState, coupled: Coupled) -> Coupled:
        """Couple the latents that the step draws for itself, if D' would be left in another state without that."""
        assert coupled.noise is not None
        if coupled.after is not None and not differing(state.after, coupled.after, 4 * coupled.tolerance):
            return coupled
        settled = settle(self.reader, state, coupled.noise)
        if settled is None:
            return coupled
        self._settled_at = state.step
        return settled

    def _note(self, diagnosis: Diagnosis) -> None:
        if diagnosis.problem is not None:
            self.survey.add(diagnosis.problem)

    def _cast_shadow(self, state: StepState, coupled: Coupled) -> None:
        """Remember the world after the coupled run if it differs from D's, or at times to be sure."""
        if coupled.after is None:
            return
        attributes = differing(state.after, coupled.after, 4 * coupled.tolerance)
        if attributes or state.step % _SHADOW_EVERY == 0:
            self._shadows.append(Shadow(state, coupled.after, attributes, self._settled_at == state.step))

    def _examine_shadows(self, state: StepState) -> Diagnosis | None:
        """What an earlier step left behind that reaches this one."""
        found: Diagnosis | None = None
        kept: list[Shadow] = []
        for shadow in self._shadows:
            diagnosis = self._examine(state, shadow)
            if diagnosis is not None:
                found = diagnosis
            elif len(shadow.between) + 1 < _SHADOW_DEPTH:
                kept.append(follow(self.reader, state, shadow))
        self._shadows = kept
        return found

    def _examine(self, state: StepState, shadow: Shadow) -> Diagnosis | None:
        for noise_class, times in self._leaks.items():
            if times >= _DIAGNOSED:
                return Diagnosis(noise_class, None) if differs(self.reader, state, shadow) else None
        diagnosis = examine(self.reader, state, shadow)
        if diagnosis is not None:
            self._leaks[diagnosis.noise_class] = self._leaks.get(diagnosis.noise_class, 0) + 1
        return diagnosis

    def _search(self, state: StepState, coupled: Coupled) -> Coupled:
        """Try other rows at this step; keep the worst from here on."""
        assert coupled.noise is not None
        best, best_mu = state.canary, coupled.mu
        reader = self.reader

        def distance(canary: Canary) -> float:
            change = reader.change_of(state, canary)
            assert coupled.noise is not None
            return coupled.noise.shift(-change, coupled.tolerance, state.freshness.fresh)[1]

        tried = reader.neighbours.candidates()
        for _ in range(3):
            for canary in tried:
                mu = distance(canary)
                if math.isfinite(mu) and mu > _GAIN * best_mu:
                    best, best_mu = canary, mu
            if best.norm in {HUGE}:
                break
            tried = reader.neighbours.grid_of(best)
        if best == state.canary:
            return coupled
        self.survey.canary = best
        other = StepState(**{name: getattr(state, name) for name in StepState.__slots__})
        other.canary = best
        other.base, other.other = reader.neighbours.pair(state.step, best)
        if (
            other.base is not state.base
        ):  # replace_one: the batch that ran is already fixed; take the new row from now on
            return coupled
        again = reader.couple(other)
        return again if again.matched and again.mu >= coupled.mu else coupled


def failure(error: CandidateError) -> Problem:
    """A failure of the candidate as a problem: certain, but no witness against its privacy."""
    return Problem(error.rule, Severity.MAJOR, Strength.PROOF, str(error), error.line)


def _reseeded(state: StepState) -> Problem:
    message = (
        f"step {state.step}: the generator is seeded inside the step: its state at the draw does not depend on what was "
        "drawn before, so whoever knows the seed knows the noise"
    )
    return unresolved("DPA205", message, state.reseeded_line)


def _noise_of_before(own: Diagnosis) -> Diagnosis:
    """Uncovered because the noise is that of an earlier step."""
    if own.problem is None or own.problem.rule != "DPA204":
        return own
    message = f"{own.problem.message}; what is added is noise that an earlier step has released"
    problem = Problem(
        "DPA205", own.problem.severity, own.problem.strength, message, own.problem.line, own.problem.evidence
    )
    return Diagnosis(own.noise_class, problem)


def _kind(coupled: Coupled) -> str:
    if coupled.noise is None:
        return "unreadable"
    return "uncovered" if math.isinf(coupled.mu) else "mismatch"


def _search_at(total: int) -> set[int]:
    """Counts at which to search: the first three, powers of two, and every tenth of the run."""
    at = {0, 1, 2, total - 1} | {total * tenth // 10 for tenth in range(1, 10)}
    return at | {2**power for power in range(2, 13)}
