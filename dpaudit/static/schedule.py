"""All steps of a run. A step that does what an analysed step did is not run again: its numbers are computed.

An analysed step keeps a record of everything that it made of numbers which may change from step to step (``step_numbers.py``).
At any later step where what is kept between steps has the same form and every record comes out the same, the candidate
would do exactly what was analysed, on every path, for Python is deterministic. What it then keeps follows from the
formulas. So a run of thousands of steps costs as much as its distinct steps.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dpaudit.probe.work_clock import worked

from .carried_bounds import CarriedBound
from .leaves import Path
from .refusal import Refusal
from .session import Session
from .state import (
    Kept,
    Moving,
    PlainState,
    Signature,
    kept_number,
    plain_state,
    plainly,
    put_numbers,
    snapshot,
)
from .step_numbers import Formula, evaluate
from .stepping import Moment, StepResult, StepSetting, analyse_step, carried_bound, slot_atom

MAXIMAL_TEMPLATES = 64
MAXIMAL_FAILED_VARIATIONS = 4
MAXIMAL_GROWTH = 64
"""Steps in a row after each of which more is kept than before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """An analysed step with the state that it started from.

    Attributes:
        moving: places of kept numbers that were variables.
    """

    number: int
    before: Signature
    plain: PlainState
    moving: frozenset[Path]
    result: StepResult
    bound: CarriedBound
    memo: dict[tuple[float, ...], float] = field(default_factory=dict)

    def starts_from(self, signature: Signature, plain: PlainState) -> bool:
        """Whether the state is the one that was analysed, up to the numbers that were variables."""
        if self.before != signature or list(self.plain) != list(plain):
            return False
        for path, was in self.plain.items():
            now = plain[path]
            if path in self.moving:
                if not (isinstance(now, Kept) and isinstance(was, Kept) and now.kind == was.kind):
                    return False
            elif was != now:
                return False
        return True

    def departures(self, environment: Mapping[Formula, int | float]) -> list[tuple[Formula, str, Any]] | None:
        """Records that come out differently at another step; ``None`` where a formula has no value there."""
        found = []
        try:
            for formula, (kind, value) in self.result.records.items():
                now = evaluate(formula, environment)
                if (
                    type(now) is not type(value)
                    or not (now == value or (now != now and value != value))
                    or _sign_differs(now, value)
                ):
                    found.append((formula, kind, now))
            if not all(evaluate(formula, environment) > 0 for formula in self.result.slots):
                return None
        except (KeyError, ArithmeticError, ValueError, IndexError, TypeError):
            return None
        return found

    def sigma(self, environment: Mapping[Formula, int | float]) -> tuple[float, dict[Formula, float]]:
        """The bound at a step that comes out the same, and the values of its public unknowns."""
        if not self.result.slots:
            return self.result.sigma, {}
        ordered = sorted(self.result.slots, key=repr)
        values = {f: float(evaluate(f, environment)) for f in ordered}
        key = tuple(values.values())
        if key not in self.memo:
            table = self.result.session.table
            self.memo[key] = self.bound.sigma({slot_atom(table, formula): value for formula, value in values.items()})
        return self.memo[key], values


@dataclass(slots=True, kw_only=True)
class Schedule:
    """Lower bounds of sigma for every step, with the distinct steps that were analysed."""

    sigmas: list[float] = field(default_factory=list)
    results: list[tuple[int, StepResult]] = field(default_factory=list)
    certified: list[tuple[float, int, tuple[tuple[Formula, float], ...]]] = field(default_factory=list)
    """For every step: its bound, the number of the result that proves it, and the public unknowns' values."""


class ScheduleRunner:
    """Takes a mechanism through its whole schedule.

    Args:
        mechanism: an instance after its constructor.
        initial: signature of its state.
        deadline: :func:`dpaudit.probe.work_clock.worked` value after which the analysis is refused.
    """

    def __init__(
        self,
        setting: StepSetting,
        mechanism: Any,
        initial: Signature,
        steps: Sequence[tuple[int, int]],
        deadline: float,
    ) -> None:
        self.setting = setting
        self.filename = setting.hooks.filename
        self.mechanism = mechanism
        self.signature = initial
        self.plain = plain_state(mechanism, self.filename)
        self.steps = steps
        self.deadline = deadline
        self.templates: list[Template] = []
        self.moving: set[Path] = set()
        self._failed_variations = 0
        self._growing = 0
        self.schedule = Schedule()

    def run(self) -> Schedule:
        """All steps.

        Raises:
            Refusal: at some step nothing could be proved, or time ran out.
        """
        for step, epoch in self.steps:
            if worked() > self.deadline:
                self._refuse("DPA114", f"time ran out at step {step} of {len(self.steps)}")
            template = self._fitting(step, epoch) or self._analyse(step, epoch)
            environment = self._moment(template.moving, step, epoch).environment
            sigma, values = template.sigma(environment)
            if not sigma > 0:
                # The unknowns lost too much: this step is analysed with its own numbers.
                template = self._analyse(step, epoch, vary=False)
                environment = self._moment(template.moving, step, epoch).environment
                sigma, values = template.sigma(environment)
            self.schedule.sigmas.append(sigma)
            self.schedule.certified.append((sigma, template.number, tuple(values.items())))
            self._advance(template, environment)
        return self.schedule

    def _advance(self, template: Template, environment: Mapping[Formula, int | float]) -> None:
        result = template.result
        self.signature, self.mechanism = result.after, result.mechanism
        after: PlainState = {}
        for path, what in result.plain.items():
            after[path] = kept_number(evaluate(what.formula, environment)) if isinstance(what, Moving) else what
        self._watch_growth(after)
        self.plain = after

    def _watch_growth(self, after: PlainState) -> None:
        """A log that gets longer at every step makes every step a new one: say so, instead of analysing all of them."""
        new = [path for path in after if path not in self.plain]
        self._growing = self._growing + 1 if new else 0
        if self._growing > MAXIMAL_GROWTH:
            where = "self." + ".".join(map(str, new[0]))
            self._refuse(
                "DPA106",
                f"what is kept grows at every step ({where}): each step starts from another state, and only a state that "
                "repeats up to its numbers covers a whole run. Keep a fixed number of values, or log outside the mechanism",
            )

    def _fitting(self, step: int, epoch: int) -> Template | None:
        for template in reversed(self.templates[-MAXIMAL_TEMPLATES:]):
            if not template.starts_from(self.signature, self.plain):
                continue
            if template.departures(self._moment(template.moving, step, epoch).environment) == []:
                return template
        return None

    def _moment(
        self, moving: frozenset[Path], step: int, epoch: int, slots: frozenset[Formula] = frozenset()
    ) -> Moment:
        numbers: dict[Path, int | float] = {}
        for path in moving:
            what = self.plain.get(path)
            if isinstance(what, Kept) and what.number is not None:
                numbers[path] = what.number
        return Moment(
            mechanism=self._copier(), before=self.signature, moving=numbers, step=step, epoch=epoch, slots=slots
        )

    def _copier(self) -> Callable[[], Any]:
        """Fresh copies of the mechanism with its present numbers."""
        mechanism, filename = self.mechanism, self.filename
        numbers = {p: k.number for p, k in self.plain.items() if isinstance(k, Kept) and k.number is not None}

        def copied() -> Any:
            fresh = snapshot(mechanism, filename)
            try:
                plainly(fresh, filename, numbers)
            except TypeError as error:
                self._refuse("DPA106", f"{error}, where it cannot be followed")
            return fresh

        return copied

    def _analyse(self, step: int, epoch: int, vary: bool = True) -> Template:
        self._note_moving()
        moving = frozenset(p for p in self.moving if p in self.plain)
        slots = self._changing(step, epoch) if vary and self._failed_variations < MAXIMAL_FAILED_VARIATIONS else None
        result = None
        if slots:
            try:
                result = analyse_step(self.setting, self._moment(moving, step, epoch, slots))
            except Refusal:
                # As unknowns the numbers proved nothing; as numbers they may.
                self._failed_variations += 1
        if result is None:
            result = analyse_step(self.setting, self._moment(moving, step, epoch))
        template = Template(
            number=len(self.schedule.results),
            before=self.signature,
            plain=self.plain,
            moving=moving,
            result=result,
            bound=carried_bound(result),
        )
        self.schedule.results.append((step, result))
        self.templates.append(template)
        return template

    def _note_moving(self) -> None:
        """Kept numbers that are all that differs from an analysed state are variables from now on."""
        for template in reversed(self.templates[-MAXIMAL_TEMPLATES:]):
            if template.before != self.signature or list(template.plain) != list(self.plain):
                continue
            differing = {p for p, was in template.plain.items() if was != self.plain[p]}
            pairs = [(template.plain[p], self.plain[p]) for p in differing]
            if all(isinstance(a, Kept) and isinstance(b, Kept) and _alike(a, b) for a, b in pairs):
                self.moving |= {p for p in differing if self._can_move(p)}
                return

    def _can_move(self, path: Path) -> bool:
        try:
            put_numbers(snapshot(self.mechanism, self.filename), self.filename, {path: 0})
        except TypeError:
            return False
        return True

    def _changing(self, step: int, epoch: int) -> frozenset[Formula]:
        """Formulas whose value alone sets this step apart from an analysed one, and that may be unknowns."""
        for template in reversed(self.templates[-MAXIMAL_TEMPLATES:]):
            if not template.starts_from(self.signature, self.plain):
                continue
            departures = template.departures(self._moment(template.moving, step, epoch).environment)
            if departures and all(kind == "value" and _is_positive(now) for _, kind, now in departures):
                return template.result.slots | {formula for formula, _, _ in departures}
        return frozenset()

    def _refuse(self, rule: str, message: str) -> None:
        session = Session(table=self.setting.table, filename=self.filename, sampled=False, real_rows=1, tiny_rows=1)
        session.table.line = None
        session.refuse(rule, message)


def _alike(one: Kept, other: Kept) -> bool:
    return one.kind == other.kind and one.number is not None and other.number is not None


def _sign_differs(one: object, other: object) -> bool:
    """0.0 and -0.0 are equal, and are told apart by their text, by ``copysign`` and as divisors."""
    return isinstance(one, float) and isinstance(other, float) and math.copysign(1.0, one) != math.copysign(1.0, other)


def _is_positive(value: object) -> bool:
    return type(value) in {int, float} and 0 < value < math.inf  # type: ignore[operator]


__all__ = ["Refusal", "Schedule", "ScheduleRunner", "Template"]
