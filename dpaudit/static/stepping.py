"""One step for all inputs: every outcome of every condition on unknown values, put together again."""

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from .carried_bounds import CarriedBound, sigma_of
from .contribution import Coordinate, contributions
from .execution import Execution
from .expressions import Table
from .hooks import Hooks, SlotBridge
from .paths import Path, joined
from .public_values import PublicValues
from .refusal import Refusal
from .sensitivity import PartBound, bound_parts
from .session import Session
from .shapes import Shrinking
from .state import PlainState, Signature, joined_signature, plain_state, prepare, put_numbers, signature_after
from .step_numbers import Formula, StepBook, evaluate

MAXIMAL_PATHS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """A step that was analysed for all inputs.

    Attributes:
        sigma: lower bound of noise over contribution; ``inf`` if nothing private is released.
        worst: parts of the worst sample's bound, for the certificate.
        records: what the step made of numbers that may change: see :class:`.step_numbers.StepBook`.
        slots: formulas that are public unknowns in the bound.
        after, plain, mechanism: what it leaves.
        public_values: public numbers that were computed with.
    """

    sigma: float
    alternatives: tuple[tuple[Session, tuple[tuple[PartBound, ...], ...]], ...]
    """For every public alternative: its session, and for every row the parts of its bound."""
    worst: tuple[PartBound, ...]
    coordinates: tuple[Coordinate, ...]
    session: Session
    public_values: PublicValues
    records: Mapping[Formula, tuple[str, Any]]
    slots: frozenset[Formula]
    after: Signature
    plain: PlainState
    mechanism: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSetting:
    """Everything about a run that does not change from step to step."""

    table: Table
    hooks: Hooks
    shrinking: Shrinking
    sampled: bool
    real_rows: int
    subtract_absent: bool
    reports_purely: bool = False
    """``get_effective_sigma`` changes nothing, so it need not be run."""
    check_empty: bool = False
    """A batch may be empty, so the step is also analysed without rows."""
    check_single: bool = False
    """A batch may be a single row, so the step is also analysed with one."""
    shared: Callable[[], object] | None = None
    """Everything that copies of the mechanism share, by value."""
    before: list[object] = field(default_factory=list)

    def remember_shared(self) -> None:
        """What copies of the mechanism share is from now on to stay as it is."""
        if self.shared is not None:
            self.before[:] = [self.shared()]

    def check_shared(self, session: Session) -> None:
        """After every execution of a step.

        Raises:
            Refusal: it has changed.
        """
        if self.shared is not None and self.before != [self.shared()]:
            session.table.line = None
            session.refuse(
                "DPA106", "values at module or class level, in a closure or in a default change during a run"
            )

    conditional: bool = False
    """Take what depends on several samples for public: never for an acceptance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One step as it is about to be run.

    Attributes:
        mechanism: gives a fresh copy of the mechanism as it is before the step.
        before: what it keeps besides ordinary values.
        moving: kept numbers that are taken for variables, with their value.
        slots: formulas that tensors meet as positive public unknowns.
    """

    mechanism: Callable[[], Any]
    before: Signature
    moving: Mapping[tuple[object, ...], int | float]
    step: int
    epoch: int
    slots: frozenset[Formula] = frozenset()

    @property
    def environment(self) -> dict[Formula, int | float]:
        """Values of the atoms of formulas."""
        return {
            ("step",): self.step,
            ("epoch",): self.epoch,
            **{("state", path): value for path, value in self.moving.items()},
        }


def slot_atom(table: Table, formula: Formula) -> int:
    """The public unknown that stands for a formula."""
    return table.public(("slot", formula), (0.0, math.inf))


def carried_bound(result: StepResult) -> CarriedBound:
    """The bound of an analysed step for other values of its public unknowns."""
    table = result.session.table
    return CarriedBound(result.alternatives, [slot_atom(table, formula) for formula in result.slots])


def analyse_step(setting: StepSetting, moment: Moment) -> StepResult:
    """Explore every path of one step and bound its contribution over noise.

    Raises:
        Refusal: nothing could be proved; it names the line.
    """
    paths: list[Path] = []
    pending: list[tuple[bool, ...]] = [()]
    while pending:
        planned = pending.pop()
        path = _run_path(setting, moment, planned)
        paths.append(path)
        taken = tuple(b.outcome for b in path.branches)
        for k in range(len(planned), len(taken)):
            pending.append((*taken[:k], not taken[k]))
        if len(paths) + len(pending) > MAXIMAL_PATHS:
            line = path.branches[-1].line
            path.session.refuse("DPA114", f"more than {MAXIMAL_PATHS} ways through the step", line)
    after = paths[0].after
    for path in paths[1:]:
        both = joined_signature(after, path.after)
        if path.plain != paths[0].plain or both is None:
            # What later steps do would depend on it, and only one course of them is run.
            branch = path.branches[0]
            raise path.session.refuse(
                "DPA107", "a condition on data or on released values changes what later steps do", branch.line
            )
        after = both
    _check_unwatched(setting, moment, paths)
    alternatives = joined(paths)
    if setting.check_empty:
        _check_empty(setting, moment, alternatives)
    result = _worst(setting, moment, alternatives, paths, after)
    if setting.check_single and setting.shrinking.rows != 1:
        _check_single(setting, moment, result)
    return result


def _run_path(setting: StepSetting, moment: Moment, planned: tuple[bool, ...]) -> Path:
    execution = Execution.begin(
        setting.table,
        setting.hooks,
        setting.shrinking,
        sampled=setting.sampled,
        real_rows=setting.real_rows,
        conditional=setting.conditional,
    )
    session, mechanism = execution.session, moment.mechanism()
    session.planned, session.empty = planned, setting.shrinking.rows == 0
    book = StepBook(SlotBridge(execution.operands), moment.slots, errors=bool(session.handled))
    prepare(execution, mechanism, moment.before)
    atoms = {path: book.number(("state", path), value) for path, value in moment.moving.items()}
    put_numbers(mechanism, session.filename, atoms)
    step, epoch = book.number(("step",), moment.step), book.number(("epoch",), moment.epoch)
    gradients = execution.gradients()
    with execution.watched(book):
        released = _call(session, mechanism, gradients, step, epoch)
        session.mark_line()
        collected = execution.collect(released)
        if not setting.reports_purely:
            # The harness asks after every step, and the answer may change the mechanism.
            with contextlib.suppress(Exception):
                mechanism.get_effective_sigma(step, epoch)
        after, kept = signature_after(execution, mechanism)
    setting.check_shared(session)
    if session.reasons:
        # The candidate caught a refusal: what it computed afterwards means nothing.
        raise session.refuse(session.reasons[0].rule, session.reasons[0].message, session.reasons[0].line)
    for departure, line in setting.table.floats.found.items():
        raise session.refuse("DPA118", departure, line)
    return Path(
        session=session,
        branches=tuple(session.branches),
        releases=tuple(session.releases),
        outputs=tuple(np.ascontiguousarray(ids).tobytes() for ids in collected),
        after=after,
        kept=kept,
        plain=plain_state(mechanism, session.filename),
        trace=setting.hooks.trace,
        course=frozenset(setting.hooks.course),
        book=book,
        mechanism=mechanism,
    )


def _check_empty(setting: StepSetting, moment: Moment, alternatives: Sequence[Path]) -> None:
    """Without rows the step must release the same noise, of the same scale, around the same public values, and keep the same.

    A batch that one row turns from empty to not empty is then told apart by that row's contribution alone.

    Raises:
        Refusal: it does otherwise, or cannot be run.
    """
    session = alternatives[0].session
    why = "a batch may be empty, and the step cannot be analysed without rows"
    try:
        path = _run_path(replace(setting, shrinking=replace(setting.shrinking, rows=0), real_rows=0), moment, ())
    except Refusal as refusal:
        raise session.refuse("DPA111", f"{why}: {refusal.reason.message}", refusal.reason.line) from refusal
    if len(alternatives) != 1 or path.branches:
        session.refuse("DPA111", f"{why}: it decides on released values", path.branches[0].line if path.branches else 0)
    (full,) = alternatives
    for name, same in (
        ("update", path.outputs == full.outputs),
        ("noise", [r.noise for r in path.releases] == [r.noise for r in full.releases]),
        ("private values", not any(r.private for r in path.releases)),
        ("state", (path.after, path.kept, path.plain) == (full.after, full.kept, full.plain)),
        ("use of the step number", path.book.records == full.book.records),
    ):
        if not same:
            line = full.releases[0].line if full.releases else None
            session.refuse(
                "DPA111", f"a batch may be empty, and the step then does otherwise: its {name} differs", line
            )
    full.session.notes.setdefault("an empty batch was analysed: it releases the same noise alone", None)


def _check_single(setting: StepSetting, moment: Moment, result: StepResult) -> None:
    """With one row, whose axis ``squeeze`` takes away and broadcasting repeats, the bound must be no worse.

    Raises:
        Refusal: it is, or cannot be found.
    """
    session = result.session
    alone = replace(setting, shrinking=replace(setting.shrinking, rows=1), real_rows=1, check_empty=False)
    try:
        found = analyse_step(alone, moment)
    except Refusal as refusal:
        why = "a batch may be a single row, and the step cannot be analysed with one"
        raise session.refuse("DPA111", f"{why}: {refusal.reason.message}", refusal.reason.line) from refusal
    same = (found.after, found.plain, found.records) == (result.after, result.plain, result.records)
    if not same or not found.sigma >= result.sigma * (1 - 1e-6):
        session.refuse("DPA111", "a batch may be a single row, and the step then does otherwise")
    session.notes.setdefault("a batch of one row was analysed: its bound is no worse", None)


def _check_unwatched(setting: StepSetting, moment: Moment, paths: Sequence[Path]) -> None:
    """The same step on plain numbers and tensors must take one of the courses that were analysed.

    Raises:
        Refusal: it takes another: the mechanism notices that it is watched, or does what is not followed.
    """
    session, hooks = paths[0].session, setting.hooks
    hooks.course = []
    generator = torch.Generator().manual_seed(20240229)
    rows = setting.shrinking.rows
    gradients = [torch.randn(rows, *shape, generator=generator) for shape in setting.shrinking.tiny]
    mechanism = moment.mechanism()
    try:
        mechanism.clip_and_noise(gradients, moment.step, moment.epoch)
    except Exception as error:
        line = _line_of(error, session.filename)
        session.refuse(
            "DPA117", f"the mechanism raised {type(error).__name__} at step {moment.step}: {error}", line or 0
        )
    setting.check_shared(session)
    if not any(frozenset(hooks.course) == path.course for path in paths):
        session.table.line = None
        session.refuse("DPA111", f"step {moment.step} takes another course when it is watched than when it is not")


def _call(session: Session, mechanism: Any, gradients: list[Any], step: int, epoch: int) -> Any:
    try:
        return mechanism.clip_and_noise(gradients, step, epoch)
    except Exception as error:
        if session.reasons:
            raise session.refuse(
                session.reasons[0].rule, session.reasons[0].message, session.reasons[0].line
            ) from error
        line = _line_of(error, session.filename)
        raise session.refuse("DPA117", f"the mechanism raised {type(error).__name__}: {error}", line) from error


def _line_of(error: BaseException, filename: str) -> int | None:
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == filename:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


# ---- the bound ------------------------------------------------------------------------------------------------------


def _worst(
    setting: StepSetting, moment: Moment, alternatives: Sequence[Path], paths: Sequence[Path], after: Signature
) -> StepResult:
    sigma = float("inf")
    worst: tuple[PartBound, ...] = ()
    kept: tuple[Coordinate, ...] = ()
    session = paths[0].session
    slots = frozenset(f for path in paths for f in path.book.used_slots)
    fixed = {slot_atom(setting.table, f): float(evaluate(f, moment.environment)) for f in slots}
    bounds = []
    for path in alternatives:
        path.session.releases = list(path.releases)
        _check_fresh(path.session)
        found, rows, coordinates = _bound_path(setting, path.session, fixed)
        bounds.append((path.session, tuple(rows)))
        if not found >= sigma:
            sigma, worst, kept, session = found, rows[0], coordinates, path.session
    records: dict[Formula, tuple[str, Any]] = {}
    for path in paths:
        for note, line in path.session.notes.items():
            session.notes.setdefault(note, line)
        records.update(path.book.records)
    return StepResult(
        sigma=sigma,
        alternatives=tuple(bounds),
        worst=worst,
        coordinates=kept,
        session=session,
        public_values=PublicValues.of(
            [(p.session.public_values, p.trace) for p in paths],
            setting.shrinking.rows,
            setting.shrinking.chunks if any(p.session.in_chunks for p in paths) else None,
        ),
        records=records,
        slots=slots,
        after=after,
        plain=paths[0].plain,
        mechanism=paths[0].mechanism,
    )


def _check_fresh(session: Session) -> None:
    """No two released scalars share a draw."""
    used: dict[int, int | None] = {}
    for release in session.releases:
        for term, _ in release.noise:
            for factor, _ in session.table.factors(term)[1]:
                if session.table.kind(factor) == "z":
                    if factor in used:
                        session.refuse(
                            "DPA105",
                            f"one Gaussian draw serves two released values (lines {used[factor]} and {release.line})",
                            release.line,
                        )
                    used[factor] = release.line


def _bound_path(
    setting: StepSetting, session: Session, fixed: Mapping[int, float]
) -> tuple[float, list[tuple[PartBound, ...]], tuple[Coordinate, ...]]:
    rows: list[tuple[PartBound, ...]] = []
    sigmas: list[float] = []
    kept: tuple[Coordinate, ...] = ()
    for sample in range(setting.shrinking.rows):
        coordinates = contributions(session, sample, setting.subtract_absent)
        parts = bound_parts(session, coordinates, setting.shrinking, fixed)
        total = sum(p.copies * p.supremum_squared for p in parts)
        if not total < float("inf"):
            session.refuse(
                "DPA102",
                "the contribution of one sample to what is released here has no bound",
                _unbounded_line(session, coordinates),
            )
        sigmas.append(sigma_of(total))
        rows.append(tuple(parts))
        kept = kept or tuple(coordinates)
    if not max(sigmas) <= min(sigmas) * (1 + 1e-6):
        session.refuse("DPA111", "rows are not treated alike, so the rows that were run do not stand for all rows")
    return min(sigmas), rows, kept


def _unbounded_line(session: Session, coordinates: Sequence[Coordinate]) -> int | None:
    lines = [c.line for c in coordinates]
    return lines[0] if lines else None
