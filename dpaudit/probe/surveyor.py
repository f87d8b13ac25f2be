"""Read the steps of a run at small shapes, in order: each one, what it leaves behind, and the worst row."""

import math
from collections.abc import Callable

from dpaudit.contract import NoiseClass, RunConfig

from .attainment import misplaced, same_unwatched, swayed
from .coupling import Coupled, DrawsDiffer, Reader, StepState
from .diagnosis import Diagnosis, affine_far, describe_row, diagnose, draws_differ
from .hidden_state import differing
from .inside import Inside
from .internal_noise import settle
from .loading import CandidateError
from .post_processing import change_inside, couple_inside, find_inside
from .problem import Problem, unresolved
from .search import worst_row
from .session import HALF
from .shadows import ShadowWatch
from .survey import Survey, failure
from .whole_batch import passes_beside, silent_coordinates
from .work_clock import worked
from .world import UncopyableState

_DIAGNOSED = 3
"""After so many diagnoses of one kind a further mismatch gets the same class without a new diagnosis."""
_UNWATCHED = 3
_REFUTED = 48
_LOOKS = (False, False, True)
"""Looks for inner values, each with other moves of the latents; the last takes those into account that leave torch."""
_INSIDES = 4
"""So many kinds of post-processing are remembered, and so many times none is found, before no more is looked for."""
_ENTROPY = "the mechanism takes fresh entropy at each call"


class Surveyor:
    """Reads the steps of one session in order.

    Args:
        reader: of the session.
        config: the run.
        survey: filled in.
        deadline: on :func:`.work_clock.worked`; steps not reached by then stay unread.
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
        self._shadows = ShadowWatch(reader)
        self._diagnosed: dict[tuple[NoiseClass, str], int] = {}
        self._evades = False
        self._refuted = 0
        self._settled_at = -1
        self._coarse = 0.0
        self._stored_noise = False
        self._insides: list[Inside] = []
        self._inside_at: tuple[int, Inside] | None = None
        self._checked_far = 0
        self._found_inside: tuple[int, Inside] | None = None
        self._looked_in_vain = 0
        self._whole: Diagnosis | None = None

    def run(self, steps: list[int]) -> Survey:
        """Read these steps; one that cannot be read is UNRESOLVED, and so is every step after an exception."""
        survey, reader = self.survey, self.reader
        for count, step in enumerate(steps):
            if worked() > self.deadline:
                read = f"time was up after {count} of {len(steps)} steps"
                survey.notes.append(f"{read}; the rest was not read (a longer --time-limit reads more)")
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
        if survey.inside is not None:
            survey.notes.append(
                "what is released is computed from noisy values in a way that is not linear; measured is the noise multiplier "
                "of these values, as if they were released, and no lower end of epsilon follows from it"
            )
        if self._coarse:
            survey.notes.append(
                f"releases are rounded to half precision: what was read is exact to {self._coarse:.0%} only, and measured is "
                "given that much above it, so that it bounds the noise multiplier from above all the same"
            )
        if reader.sigma_error is not None:
            survey.add(failure(reader.sigma_error))
        survey.fill(len(steps))
        return survey

    def _step(self, step: int, *, search: bool) -> None:
        survey, reader = self.survey, self.reader
        state = reader.begin(step, self.config.epoch_of(step), survey.canary)
        survey.reported.append(state.reported)
        if len(survey.reported) <= _UNWATCHED and not self._evades:
            self._compare_unwatched(state)
        noise_class, measured = NoiseClass.UNRESOLVED, None
        if not self._evades and self._refuted < _REFUTED:
            try:
                inherited = self._shadows.examine(state)
                noise_class, measured = self._read(state, inherited, search=search)
            except DrawsDiffer as error:
                self._note(draws_differ(error, state))
            self._refuted += noise_class in {NoiseClass.DATA_DEPENDENT, NoiseClass.LEAK}
            if self._refuted == _REFUTED:
                survey.notes.append(
                    f"after step {step} the steps were run for their reports only: {_REFUTED} steps had shown private "
                    "data in the noise scale or in what is kept"
                )
        survey.classes.append(noise_class)
        survey.measured.append(self._with_rounding(measured, state.recording.rounding))
        reader.session.restore(state.after)
        reader.neighbours.observe(state.release)  # not before: a row may follow earlier releases only

    def _with_rounding(self, measured: float | None, rounding: float) -> float | None:
        """An upper bound all the same where the release itself is rounded to half precision: read within ``rounding``."""
        if measured is None or rounding < HALF:
            return measured
        self._coarse = max(self._coarse, rounding)
        return measured * (1 + rounding)

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
        settled = self._settled_at == state.step
        if search or len(self.survey.reported) <= _UNWATCHED or self._whole is not None or coupled.mu == 0:
            whole = self._whole_batch(state, coupled)
            if whole is not None:
                self._whole = whole
                self._note(whole)
                return whole.noise_class, 0.0 if whole.noise_class is NoiseClass.NO_FRESH_NOISE else None
        if search and not settled:
            coupled = self._worst_row(state, coupled)
            self.survey.canary = state.canary
        self._shadows.cast(state, coupled, settled=settled)
        if inherited is not None:
            return inherited.noise_class, None
        if search and self.survey.demonstrated:
            note = misplaced(self.reader, state, coupled) or swayed(self.reader, state, coupled)
            if note:
                self.survey.demonstrated = False
                self.survey.notes.append(note)
        return NoiseClass.CLEAN, self.reader.sigma(coupled)

    def _compare_unwatched(self, state: StepState) -> None:
        same = same_unwatched(self.reader, state)
        if same is None and not any(_ENTROPY in note for note in self.survey.notes):
            self.survey.notes.append(f"{_ENTROPY}: it could not be compared with and without watching")
        if same is False:
            self._evades = True
            message = f"step {state.step}: the mechanism releases other values when it is not watched"
            self.survey.add(unresolved("DPA207", message, state.draw_line))

    def _couple(self, state: StepState) -> tuple[Diagnosis, Coupled | None]:
        try:
            inner = self._couple_inside(state, self._insides)
            if inner is not None:
                return Diagnosis(NoiseClass.CLEAN, None), inner
            coupled = self.reader.couple(state)
        except DrawsDiffer as error:
            return draws_differ(error, state), None
        if self.reader.map_reader.internal is not None and coupled.noise is not None:
            inner = self._look_inside(state)
            if inner is not None:
                return Diagnosis(NoiseClass.CLEAN, None), inner
            coupled = self._settle(state, coupled)
        if coupled.matched and self._affine_far(state, coupled):
            return Diagnosis(NoiseClass.CLEAN, None), coupled
        diagnosis = self._diagnose(state, coupled)
        if diagnosis.noise_class is NoiseClass.UNRESOLVED:
            inner = self._look_inside(state)
            if inner is not None:
                return Diagnosis(NoiseClass.CLEAN, diagnosis.problem if self.reader.coins_matter else None), inner
            if self._found_inside is not None and self._found_inside[0] == state.step and diagnosis.problem is not None:
                diagnosis.problem = _beside(state, self._found_inside[1], self.reader)
        return diagnosis, diagnosis.coupled

    def _diagnose(self, state: StepState, coupled: Coupled) -> Diagnosis:
        kind = _kind(coupled)
        for (noise_class, known), times in self._diagnosed.items():
            if known == kind and times >= _DIAGNOSED and noise_class is not NoiseClass.CLEAN:
                return Diagnosis(noise_class, None)
        diagnosis = diagnose(self.reader, state, coupled)
        key = (diagnosis.noise_class, kind)
        self._diagnosed[key] = self._diagnosed.get(key, 0) + 1
        return diagnosis

    def _affine_far(self, state: StepState, coupled: Coupled) -> bool:
        """Whether a reading holds far from the release too, looked at in the first steps that are read."""
        if self._checked_far >= _UNWATCHED or coupled.noise is None:
            return True
        self._checked_far += 1
        return affine_far(self.reader, state, coupled)

    def _couple_inside(self, state: StepState, insides: list[Inside]) -> Coupled | None:
        """Couple at the first of these inner values at which the step can be coupled."""
        for inside in insides:
            coupled = couple_inside(self.reader, state, inside)
            if coupled is not None and coupled.matched:
                self._inside_at = state.step, inside
                self.survey.demonstrated = False
                self.survey.inside = self.reader.inside = inside
                return coupled
        return None

    def _look_inside(self, state: StepState) -> Coupled | None:
        """Couple at inner values that no earlier step had."""
        if len(self._insides) >= _INSIDES or self._looked_in_vain >= _INSIDES:
            return None
        for sinks in _LOOKS:
            try:
                inside = find_inside(self.reader, state, sinks=sinks)
                coupled = None if inside is None else self._couple_inside(state, [inside])
            except DrawsDiffer:
                return None
            if inside is not None:
                self._found_inside = state.step, inside
            if inside is not None and coupled is not None:
                self._insides.append(inside)
                return coupled
        self._looked_in_vain += 1
        return None

    def _whole_batch(self, state: StepState, coupled: Coupled) -> Diagnosis | None:
        """What a change of all rows shows that the one row did not."""
        if self._inside_at is not None and self._inside_at[0] == state.step:
            if self._whole is not None and self._whole.noise_class is NoiseClass.UNRESOLVED:
                return self._whole  # what passed beside the inner values once may do so at any step
            return passes_beside(self.reader, state, self._inside_at[1], coupled)
        if self._settled_at == state.step or coupled.noise is None:
            return None
        return silent_coordinates(self.reader, state, coupled)

    def _worst_row(self, state: StepState, coupled: Coupled) -> Coupled:
        if self._inside_at is None or self._inside_at[0] != state.step:
            return worst_row(
                self.reader,
                state,
                coupled,
                change=lambda canary: self.reader.change_of(state, canary),
                couple=lambda: self.reader.couple(state),
            )
        inside = self._inside_at[1]
        return worst_row(
            self.reader,
            state,
            coupled,
            change=lambda canary: change_inside(
                self.reader, state, inside, self.reader.neighbours.pair(state.step, canary)
            ),
            couple=lambda: couple_inside(self.reader, state, inside) or coupled,
        )

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


def _reseeded(state: StepState) -> Problem:
    message = (
        f"step {state.step}: the generator is seeded inside the step: its state at the draw does not depend on what was "
        "drawn before, so whoever knows the seed knows the noise"
    )
    return unresolved("DPA205", message, state.reseeded_line)


def _beside(state: StepState, inside: Inside, reader: Reader) -> Problem:
    line = next((inlet.place[0] for inlet in inside.inlets if inlet.place[0]), state.draw_line)
    message = (
        f"step {state.step}: the release is not an affine function of the Gaussian draws; it is computed from values that are "
        f"(line {line}), but when {describe_row(reader, state)} no shift of the noise brings the same release back: data "
        "passes beside these values, or their noise depends on it"
    )
    return unresolved("DPA207", message, line)


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
