"""The same mechanism at the real shapes and batch, at a few steps, against what the small shapes showed.

Two fresh objects, one at the real shapes in float32 and one at small shapes in float64, make the same call. Where the
noise multipliers agree, the small-shape survey speaks for the real run.
"""

import math
from dataclasses import dataclass

from dpaudit.contract import NoiseClass, RunConfig

from .candidates import Canary
from .coupling import Coupled, DrawsDiffer, Reader, StepState
from .inside import Inside
from .loading import CandidateError
from .post_processing import at_other_shapes, couple_inside
from .problem import unresolved
from .readers import Readers
from .survey import Survey
from .work_clock import worked

_AGREEMENT = 2e-3
_LARGEST_NORM = 1e3
_CALLS = 6
_SCALED = 1.5
_ELEMENT_LIMIT = 60_000_000


class _TooSlow(Exception):
    """There is not enough time left for the calls of a look: running into the limit would blame the candidate."""


@dataclass(slots=True)
class _Look:
    """One step of one session: the noise multiplier, whether it was coupled, and what it reports."""

    sigma: float
    coupled: bool
    reported: float | None
    line: int | None
    rounding: float


def compare_real_shapes(config: RunConfig, readers: Readers, survey: Survey, *, deadline: float) -> None:
    """Look at the first, the middle and the last step; a disagreement lowers ``measured`` or unresolves it.

    Each step is the first call of fresh objects, and the canary is alone in its batch where the mechanism bears it, so
    that neither history nor other rows differ between the shapes.
    """
    if readers.real_rows * config.n_params > _ELEMENT_LIMIT:
        survey.notes.append(
            f"read at small shapes only: {readers.real_rows} rows of {config.n_params} parameters are too many here"
        )
        survey.demonstrated = False
        return
    looked: list[int] = []
    waiting = sorted({0, config.total_steps // 2, config.total_steps - 1})
    while waiting and worked() < deadline:
        step = waiting.pop(0)
        try:
            looks = _look_at(config, readers, survey, step, deadline)
        except _TooSlow:
            break
        if looks is None:
            continue
        small, real = looks
        if real is None:
            survey.notes.append(
                "the noise is mixed among coordinates or kept inside: it was read at small shapes only, and is not "
                "confirmed at the real ones"
            )
            survey.demonstrated = False
            return
        looked.append(step)
        if _compare(survey, step, small, real) and len(looked) <= 3 and not waiting:
            more = range(config.total_steps // 14, config.total_steps, max(1, config.total_steps // 12))
            waiting = [other for other in more if other not in looked]
    survey.demonstrated = survey.demonstrated and bool(looked)
    survey.notes.append(
        f"real shapes and the real batch (float32) were looked at in steps {looked} of fresh objects only; every step was read "
        "at small shapes"
    )


def _look_at(
    config: RunConfig, readers: Readers, survey: Survey, step: int, deadline: float
) -> tuple[_Look, _Look | None] | None:
    """Looks at small and at real shapes; the latter ``None`` if it cannot be read, both if no object begins there."""
    for quiet in (True, False):
        small = readers.small(quiet=quiet)
        small.coins_matter = survey.coins_matter
        try:
            here = _look(small, config, survey, step, deadline)
        except CandidateError:
            continue  # it cannot begin at this step, or not with rows of zeros
        if here is None:
            return _Look(math.nan, False, None, None, math.nan), None
        real = readers.real(quiet=quiet)
        real.coins_matter = survey.coins_matter
        if survey.inside is not None:
            return here, _look(real, config, survey, step, deadline)
        form = small.map_reader.form_at(small.neighbours.sizes, real.neighbours.sizes)
        if form is None or small.map_reader.internal is not None:
            return here, None
        real.map_reader.assume(form)
        return here, _look(real, config, survey, step, deadline)
    return None


def _look(reader: Reader, config: RunConfig, survey: Survey, step: int, deadline: float) -> _Look | None:
    # In float32 a huge release would drown its own noise.
    canary = Canary(survey.canary.direction, min(survey.canary.norm, _LARGEST_NORM))
    before = worked()
    state = reader.begin(step, config.epoch_of(step), canary)
    now = worked()
    if now + _CALLS * (now - before) > deadline:
        raise _TooSlow
    try:
        coupled = reader.couple(state) if survey.inside is None else _couple_inside(reader, state, survey.inside)
    except DrawsDiffer:
        return _Look(math.nan, False, state.reported, state.draw_line, state.recording.rounding)
    if coupled is None:
        return None
    return _Look(reader.sigma(coupled), coupled.matched, state.reported, state.draw_line, state.recording.rounding)


def _couple_inside(reader: Reader, state: StepState, inside: Inside) -> Coupled | None:
    here = at_other_shapes(reader, state, inside)
    return None if here is None else couple_inside(reader, state, here)


def _compare(survey: Survey, step: int, small: _Look, real: _Look) -> bool:
    """Hold two looks against each other; True if the real one shows less noise, so that more of them pay."""
    if small.reported is not None and real.reported is not None:
        _compare_reports(survey, step, small.reported, real.reported)
    if not small.coupled:
        return False  # the survey has its own finding
    if not real.coupled:
        _unresolve(
            survey,
            f"step {step}: at the real shapes the neighbouring batch cannot be made to release the same update, at "
            "small shapes it can",
            real.line,
        )
        return False
    tolerance = max(_AGREEMENT, 300 * real.rounding, 300 * small.rounding)
    if real.sigma == small.sigma or abs(real.sigma - small.sigma) <= tolerance * small.sigma:
        return False
    message = (
        f"step {step}: the noise multiplier of the demonstrated pair is {real.sigma:.6g} at the real shapes and "
        f"{small.sigma:.6g} at small ones; the noise or the bound depends on the shapes"
    )
    if real.sigma < small.sigma:
        survey.add(unresolved("DPA207", message, real.line, real=real.sigma, small=small.sigma))
        measured = survey.measured[step]
        if measured is not None:
            survey.measured[step] = min(measured, real.sigma)
        return True
    if real.sigma <= _SCALED * small.sigma:
        # Quote the weaker number everywhere: the lower end of epsilon only falls.
        survey.add(unresolved("DPA207", message, real.line, real=real.sigma, small=small.sigma))
        factor = real.sigma / small.sigma
        survey.measured = [None if value is None else factor * value for value in survey.measured]
        return False
    _unresolve(survey, message, real.line)
    return False


def _unresolve(survey: Survey, message: str, line: int | None) -> None:
    """No number of the survey may be quoted: what it read is not what happens at the real shapes."""
    survey.add(unresolved("DPA207", message, line))
    survey.demonstrated = False
    for index, noise_class in enumerate(survey.classes):
        if noise_class in {NoiseClass.CLEAN, NoiseClass.LEAK}:
            survey.measured[index] = None
            if noise_class is NoiseClass.CLEAN:
                survey.classes[index] = NoiseClass.UNRESOLVED


def _compare_reports(survey: Survey, step: int, small: float, real: float) -> None:
    if not math.isclose(small, real, rel_tol=1e-6):
        message = f"step {step}: get_effective_sigma says {real:.6g} at the real shapes and {small:.6g} at small ones"
        survey.add(unresolved("DPA207", message, None))
        survey.reported[step] = real
