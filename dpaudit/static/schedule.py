"""All steps of a run: each is run unwatched, and analysed unless an analysed step did exactly the same.

A step did the same if the mechanism was in a state of the same signature, took the same decisions, and met tensors and
foreign code with the same numbers. What is left out of that comparison (step counters, say) reaches the release only
through numbers that are compared.
"""

import contextlib
import functools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .hooks import FREE, ROW, WILD, slot_name
from .refusal import Refusal
from .session import Session
from .state import Signature, constants_match, snapshot
from .stepping import StepResult, StepSetting, Trace, analyse_step, sigma_at

MAXIMAL_RECENT = 8
MAXIMAL_FAILED_VARIATIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One way through an analysed step."""

    before: Signature
    after: Signature
    trace: Trace
    result: StepResult
    origin: Trace
    """The same step, unwatched."""
    slots: Mapping[int, int] = field(default_factory=dict)

    def fits(self, trace: Trace) -> bool:
        """Whether an unwatched step went this way, with one positive number for each public variable."""
        return matches(self.trace, trace) and all(
            _is_positive(trace[place][2]) and trace[place][2] == trace[first][2] for place, first in self.slots.items()
        )

    def sigma(self, trace: Trace, memo: dict[tuple[float, ...], float]) -> float:
        """The bound at a step that went this way, with the numbers that it met."""
        if not self.slots:
            return self.result.sigma
        table = self.result.session.table
        values = values_of(self.slots, trace)
        key = tuple(values.values())
        if key not in memo:
            memo[key] = sigma_at(
                self.result, {table.public(slot_name(k), (0.0, math.inf)): v for k, v in values.items()}
            )
        return memo[key]


def values_of(slots: Mapping[int, int], trace: Trace) -> dict[int, float]:
    """Values of the public variables at a step."""
    return {first: float(trace[first][2]) for first in sorted(set(slots.values()))}  # type: ignore[arg-type]


@dataclass(slots=True, kw_only=True)
class Schedule:
    """Lower bounds of sigma for every step, with the distinct steps that were analysed."""

    sigmas: list[float] = field(default_factory=list)
    results: list[tuple[int, StepResult]] = field(default_factory=list)
    certified: list[tuple[float, int, tuple[tuple[str, float], ...]]] = field(default_factory=list)
    """For every step: its bound, the number of the result that proves it, and the public variables' values."""


class ScheduleRunner:
    """Runs a mechanism over its whole schedule.

    Args:
        mechanism: an instance after its constructor, unwatched.
        initial: signature of its state.
        deadline: ``time.monotonic()`` value after which the analysis is refused.
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
        self.mechanism = mechanism
        self.signature = initial
        self.steps = steps
        self.deadline = deadline
        self.templates: list[Template] = []
        self._memo: dict[int, dict[tuple[float, ...], float]] = {}
        self._failed_variations = 0
        self._number: dict[int, int] = {}
        self.gradients = _probe_gradients(setting)
        self._versions = [g._version for g in self.gradients]

    def run(self) -> Schedule:
        schedule = Schedule()
        for step, epoch in self.steps:
            if time.monotonic() > self.deadline:
                self._refuse("DPA114", f"time ran out at step {step} of {len(self.steps)}")
            before = snapshot(self.mechanism)
            trace = self._run_unwatched(step, epoch)
            template = self._match(before, trace)
            if template is None:
                template = self._analyse(before, trace, step, epoch, schedule)
            sigma = template.sigma(trace, self._memo.setdefault(id(template), {}))
            if not sigma > 0:
                # The variables lost too much: this step is analysed with its own numbers.
                template = self._analyse(before, trace, step, epoch, schedule, vary=False)
                sigma = template.result.sigma
            schedule.sigmas.append(sigma)
            values = tuple((str(k), v) for k, v in values_of(template.slots, trace).items())
            schedule.certified.append((sigma, self._number[id(template.result)], values))
            self.signature = template.after
        return schedule

    def _run_unwatched(self, step: int, epoch: int) -> Trace:
        hooks = self.setting.hooks
        hooks.trace, hooks.recording, hooks.rows = [], True, self.setting.shrinking.rows
        try:
            self.mechanism.clip_and_noise(list(self.gradients), step, epoch)
        except Exception as error:
            self._refuse("DPA117", f"the mechanism raised {type(error).__name__} at step {step}: {error}")
        finally:
            hooks.recording = False
        with contextlib.suppress(Exception):
            # The harness asks after every step, and the answer may change the mechanism.
            self.mechanism.get_effective_sigma(step, epoch)
        for gradient, version in zip(self.gradients, self._versions, strict=True):
            if gradient._version != version:
                # The candidate works in place: the next step gets fresh gradients.
                self.gradients = _probe_gradients(self.setting)
                self._versions = [g._version for g in self.gradients]
                break
        return hooks.trace

    def _match(self, before: Any, trace: Trace) -> Template | None:
        for place in range(len(self.templates) - 1, max(-1, len(self.templates) - 1 - MAXIMAL_RECENT), -1):
            template = self.templates[place]
            alike = template.before == self.signature and template.fits(trace)
            if alike and constants_match(before, template.before, self.setting.hooks.filename):
                return template
        return None

    def _analyse(
        self, before: Any, trace: Trace, step: int, epoch: int, schedule: Schedule, vary: bool = True
    ) -> Template:
        slots = self._varying(trace) if vary and self._failed_variations < MAXIMAL_FAILED_VARIATIONS else {}
        result = None
        copy = functools.partial(snapshot, before)
        if slots:
            try:
                result = analyse_step(self.setting, copy, self.signature, step, epoch, slots, values_of(slots, trace))
            except Refusal:
                # As variables the numbers proved nothing; as numbers they may.
                self._failed_variations += 1
                slots = {}
        if result is None:
            result = analyse_step(self.setting, copy, self.signature, step, epoch)
        self._number[id(result)] = len(schedule.results)
        schedule.results.append((step, result))
        first = len(self.templates)
        for symbolic, after in result.traces:
            self.templates.append(
                Template(before=self.signature, after=after, trace=symbolic, result=result, origin=trace, slots=slots)
            )
        for template in self.templates[first:]:
            if template.fits(trace):
                return template
        self._refuse(
            "DPA111",
            f"step {step} takes another course when it is watched than when it is not, or shapes lead its course",
        )
        raise AssertionError

    def _varying(self, trace: Trace) -> dict[int, int]:
        """Places at which this step differs from an analysed one by a positive number only."""
        for template in reversed(self.templates[-MAXIMAL_RECENT:]):
            if template.before != self.signature or len(template.trace) != len(trace):
                continue
            places = _places(template, trace)
            if places:
                return places
        return {}

    def _refuse(self, rule: str, message: str) -> None:
        session = Session(
            table=self.setting.table, filename=self.setting.hooks.filename, sampled=False, real_rows=1, tiny_rows=1
        )
        session.table.line = None
        session.refuse(rule, message)


def _is_positive(value: object) -> bool:
    return type(value) in {int, float} and value > 0  # type: ignore[operator]


def _places(template: Template, trace: Trace) -> dict[int, int]:
    """Slots for a step that differs from a template in numbers only; empty if it differs otherwise."""
    first: dict[tuple[object, ...], int] = {}
    slots: dict[int, int] = {}
    rows = zip(template.trace, template.origin, trace, strict=True)
    for place, ((site, expected, _), (_, _, before), (other, exact, value)) in enumerate(rows):
        if site != other or (value is ROW and exact != expected):
            return {}
        if value is ROW:
            continue
        if place not in template.slots and (expected is FREE or expected is WILD or expected == value):
            continue
        if not (_is_positive(value) and _is_positive(before)):
            return {}
        slots[place] = first.setdefault((before, value, template.slots.get(place)), place)
    return slots


def matches(template: Trace, trace: Trace) -> bool:
    """Whether an unwatched run went the way of an analysed one."""
    if len(template) != len(trace):
        return False
    for (site, expected, _), (other, exact, value) in zip(template, trace, strict=True):
        if site != other:
            return False
        if expected != (exact if value is ROW else value) and expected is not FREE and expected is not WILD:
            return False
    return True


def _probe_gradients(setting: StepSetting) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(20240229)
    return [torch.randn(setting.shrinking.rows, *shape, generator=generator) for shape in setting.shrinking.tiny]


__all__ = ["Refusal", "Schedule", "ScheduleRunner", "matches"]
