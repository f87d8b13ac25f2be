"""One candidate's examination, in the worker: all steps at small shapes, some at the real ones, rows with NaN."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from dpaudit.contract import NoiseClass, Severity, Strength
from dpaudit.contract import Rows as CellRows
from dpaudit.contract.guard import Attempt

from . import python_draws, torch_draws, work_clock
from .claims import check_claim
from .coupling import Reader
from .loading import CandidateError, load_candidate
from .messages import Request, Result
from .nonfinite import nonfinite_rows
from .problem import Problem, unresolved
from .readers import Readers
from .real_shapes import compare_real_shapes
from .survey import Survey, failure
from .surveyor import Surveyor
from .unwatched import plans
from .watched_run import watched_statistics
from .world import UncopyableState

_CALLS_PER_STEP = 5
_GAIN = 1.01


def prepare(seed: int) -> None:
    """Set up this process before a candidate is loaded: one thread, and randomness led onto the tape."""
    work_clock.begin()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    python_draws.install(seed)
    torch_draws.install()


def examine_candidate(request: Request, attempts: Sequence[Attempt], progress: Callable[[int, int], None]) -> Result:
    """Everything that the probe has to say about a candidate. A fault of the candidate is a problem in the result.

    Args:
        attempts: what the guard has refused; read at the end.
        progress: called with (steps read, steps in all).
    """
    started = work_clock.worked()
    readers = Readers(request)
    survey = Survey()
    try:
        _choose(readers, survey, request)
        share = 0.4 if readers.quiet else 0.75
        surveyor = Surveyor(
            readers.small(), request.config, survey, deadline=started + share * request.time_limit, progress=progress
        )
        surveyor.run(list(range(request.config.total_steps)))
        if readers.quiet:
            survey = _beside_others(readers, survey, request, deadline=started + 0.75 * request.time_limit)
        if survey.complete:
            check_claim(request.config, readers.small(), survey)
            nonfinite_rows(request.config, readers.small(), survey)
        if survey.complete and NoiseClass.CLEAN in survey.classes:
            compare_real_shapes(request.config, readers, survey, deadline=started + 0.9 * request.time_limit)
    except CandidateError as error:
        survey.add(failure(error))
    except UncopyableState as error:
        survey.add(unresolved("DPA207", f"{error}; nothing can be replayed", None))
    watched = _watched(request, survey)
    for attempt in attempts:
        message = f"the mechanism tried what it may not do: {attempt.action} (refused)"
        survey.add(Problem("DPA012", Severity.MAJOR, Strength.PROOF, message, attempt.line))
    survey.fill(request.config.total_steps)
    demonstrated = survey.demonstrated and all(value is not None for value in survey.measured)
    return Result(
        reported=tuple(survey.reported),
        measured=tuple(survey.measured),
        classes=tuple(survey.classes),
        demonstrated=demonstrated,
        pair=_pair_in_words(request, readers, survey),
        problems=tuple(survey.problems),
        notes=tuple(survey.notes),
        checks=tuple(survey.checks),
        watched=watched,
        post_processed=survey.inside is not None,
    )


def _watched(request: Request, survey: Survey) -> tuple[tuple[tuple[float, float], ...], ...]:
    """The runs that are made again in a process that nothing watches. Nothing where the candidate cannot be run."""
    if not survey.complete:
        return ()
    try:
        candidate = load_candidate(request.text, request.path, request.class_name)
        return tuple(tuple(watched_statistics(candidate, plan)) for plan in plans(request))
    except Exception:
        return ()  # it raises on these batches; a process that is not watched must raise on them as well


def _choose(readers: Readers, survey: Survey, request: Request) -> None:
    """Choose what to survey with: the run's own batch size if it is fast enough, and the base rows that show most."""
    seconds = _seconds_per_call(readers.small(), request)
    if _CALLS_PER_STEP * seconds * request.config.total_steps > 0.5 * request.time_limit and readers.shrink_batch():
        survey.notes.append(
            f"a call takes {1000 * seconds:.0f} ms: the steps were read with batches of {readers.rows} rows, and "
            "dataset_size to match; the real batch was looked at in some steps"
        )
    steps = list(range(min(2, request.config.total_steps)))
    loud, quiet = (_trial(readers, request, steps, quiet=alone) for alone in (False, True))
    # A dependence on data shows beside other rows: they are left out only where nothing of the kind was seen.
    readers.quiet = loud.clean and quiet.clean and quiet.smallest * _GAIN < loud.smallest


def _beside_others(readers: Readers, alone: Survey, request: Request, *, deadline: float) -> Survey:
    """A second survey beside rows that are not zero: ``alone`` if that finds every step clean as well, else the second."""
    second = Survey()
    steps = list(range(request.config.total_steps))
    reader = readers.small(quiet=False)
    Surveyor(reader, request.config, second, deadline=deadline, progress=lambda done, total: None).run(steps)
    read = [noise_class for noise_class in second.classes if noise_class is not NoiseClass.UNRESOLVED]
    if second.complete and any(noise_class is not NoiseClass.CLEAN for noise_class in second.classes):
        readers.quiet = False
        return second
    if not second.complete:
        alone.notes.append(f"beside rows that are not zero only {len(read)} of {len(steps)} steps were read")
    # That a row's effect depends on the others does not touch a pair in which they are zero.
    alone.demonstrated = alone.demonstrated and not second.coins_matter
    return alone


def _seconds_per_call(reader: Reader, request: Request) -> float:
    """Time of one call that is not the first (the shortest of three: others may use the machine)."""
    rows = reader.neighbours.base(0)
    reader.session.call(rows, 0, 1)
    seconds = []
    for _ in range(3):
        before = work_clock.worked()
        reader.session.call(rows, min(1, request.config.total_steps - 1), 1)
        seconds.append(work_clock.worked() - before)
    return min(seconds)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a short survey showed: whether every step was clean, and the smallest noise multiplier."""

    clean: bool
    smallest: float


def _trial(readers: Readers, request: Request, steps: list[int], *, quiet: bool) -> _Trial:
    try:
        trial = Surveyor(
            readers.small(quiet=quiet),
            request.config,
            Survey(),
            deadline=work_clock.worked() + 0.1 * request.time_limit,
            progress=lambda done, total: None,
        ).run(steps)
    except (CandidateError, UncopyableState):
        return _Trial(clean=False, smallest=math.inf)
    return _Trial(
        clean=all(noise_class is NoiseClass.CLEAN for noise_class in trial.classes),
        smallest=min((value for value in trial.measured if value is not None), default=math.inf),
    )


def _pair_in_words(request: Request, readers: Readers, survey: Survey) -> str:
    """The demonstrated pair, so that a person can build it again."""
    cell = request.config.cell
    where = f"row {readers.rows // 2}" if cell.rows is CellRows.CONSTANT else f"row {readers.rows}, appended"
    beside = "rows of zeros" if readers.quiet else "base rows"
    return (
        f"{cell.relation}: one row ({where}) with a gradient of {survey.canary} at every step, beside {readers.rows} "
        f"{beside}; seed {request.seed}; cell {cell}"
    )
