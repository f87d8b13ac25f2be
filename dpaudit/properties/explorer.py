"""Trying rows: which promise does one row break at one moment, and what is the simplest row that breaks it?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

import torch
from hypothesis import HealthCheck, Phase, find, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from torch import Tensor

from dpaudit.probe.loading import CandidateError
from dpaudit.probe.work_clock import worked

from .batches import CONTENTS, Beside
from .gradients import EXPLICIT, KINDS, NORMS, RowPattern, row_patterns, sweep_patterns
from .moments import Moment
from .readings import Effect, Unreadable

TOLERANCE = 1e-3
"""Relative excess of a contribution that is not a finding: float32 rounding of norms and sums stays well below."""

SINGLE_TOLERANCE = 1e-2
"""The same where only a float32 run shows it: sums over thousands of rows lose up to about 1e-3."""


class Fault(StrEnum):
    """What one row can show."""

    CONTRIBUTION = "contribution"
    NOISE_MOVES = "noise_moves"
    NOT_FINITE = "not_finite"
    RAISED = "raised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row at one moment."""

    moment: int = 0
    beside: Beside = field(default_factory=Beside)
    pattern: RowPattern = field(default_factory=RowPattern)


class OutOfTime(Exception):
    """The time of the layer is up."""


@dataclass(slots=True)
class Explorer:
    """Evaluates examples at the moments of one or two histories, remembering every answer.

    Attributes:
        tolerance: relative excess from which a contribution is a fault.
        worst: the example with the smallest noise multiplier so far, and that multiplier.
        unreadable: why some examples could not be judged.
        timed_out: whether something was left untried for lack of time.
    """

    moments: list[Moment]
    tolerance: float
    deadline: float
    seed: int
    worst: tuple[float, Example] | None = None
    unreadable: dict[str, int] = field(default_factory=dict)
    tried: int = 0
    timed_out: bool = False
    _effects: dict[Example, Effect | CandidateError | None] = field(default_factory=dict)

    def effect(self, example: Example) -> Effect | CandidateError | None:
        """The effect of an example's row; ``None`` where it cannot be read.

        Raises:
            OutOfTime: the deadline has passed.
        """
        if example not in self._effects:
            if worked() > self.deadline:
                raise OutOfTime("time was up before every row was tried")
            self._effects[example] = self._effect(example, self.row(example))
        return self._effects[example]

    def row(self, example: Example) -> Tensor:
        """The differing row of an example."""
        return self.moments[example.moment].row(example.pattern)

    def worst_above(self, sigma: float, *, content: str | None = None) -> Example | None:
        """The faulty example with the smallest noise multiplier that is not below ``sigma``; beside rows of ``content``."""
        read = {
            example: effect.sigma
            for example, effect in self._effects.items()
            if isinstance(effect, Effect) and effect.finite and effect.noise_ratio is None and effect.sigma >= sigma
            if content in {None, example.beside.content}
        }
        faulty = [
            example for example in sorted(read, key=read.__getitem__)[:1] if Fault.CONTRIBUTION in self.faults(example)
        ]
        return faulty[0] if faulty else None

    def faults(self, example: Example) -> frozenset[Fault]:
        """Which promises the example breaks."""
        effect = self.effect(example)
        if effect is None:
            return frozenset()
        if isinstance(effect, CandidateError):
            return frozenset({Fault.RAISED})
        if not effect.finite:
            return frozenset({Fault.NOT_FINITE})
        if effect.noise_ratio is not None:
            if self._comparable(example):
                return frozenset({Fault.NOISE_MOVES})
            self._note(Unreadable("an internal noisy release may or may not cover a change of the noise scale"))
            return frozenset()
        reported = self.reported(example)
        kept = reported is None or effect.sigma >= reported * (1 - self.tolerance)
        return frozenset() if kept else frozenset({Fault.CONTRIBUTION})

    def reported(self, example: Example) -> float | None:
        """What the mechanism reports at an example's moment."""
        return self.moments[example.moment].reading(example.beside).reported

    def sweep(self, *, brief: bool) -> dict[Fault, Example]:
        """Try a fixed list of rows everywhere (a few of them if ``brief``); the first example of each fault."""
        found: dict[Fault, Example] = {}
        try:
            for example in self._sweep(brief):
                for fault in self.faults(example):
                    found.setdefault(fault, example)
        except OutOfTime:
            self.timed_out = True
        return found

    def random(self, fault: Fault | None, examples: int) -> Example | None:
        """Search with Hypothesis for an example of a fault (any, if ``None``), and shrink it."""

        def shows(example: Example) -> bool:
            faults = self.faults(example)
            return bool(faults) if fault is None else fault in faults

        quiet = settings(
            max_examples=examples,
            database=None,
            deadline=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        try:
            return find(self.strategy(), shows, settings=quiet, random=Random(self.seed))
        except NoSuchExample:
            return None
        except OutOfTime:
            self.timed_out = True
            return None

    def strategy(self) -> st.SearchStrategy[Example]:
        """All examples; the simplest first."""
        geometry = self.moments[0].geometry
        beside = st.builds(Beside, content=st.sampled_from(CONTENTS), count=st.sampled_from(geometry.counts()))
        return st.builds(
            Example,
            moment=st.integers(0, len(self.moments) - 1),
            beside=beside,
            pattern=row_patterns(len(geometry.sizes)),
        )

    def simplify(self, example: Example, fault: Fault) -> Example:
        """Make an example simpler, one field at a time, as long as it still shows the fault."""
        try:
            for candidate in self._simpler(example):
                if candidate != example and fault in self.faults(candidate):
                    return self.simplify(candidate, fault)
        except OutOfTime:
            self.timed_out = True
        return example

    def _simpler(self, example: Example) -> Iterator[Example]:
        """Simpler neighbours of an example, strictly earlier in the order of their field."""
        pattern, beside = example.pattern, example.beside
        counts = self.moments[0].geometry.counts()
        yield from (replace(example, moment=index) for index in range(example.moment))
        yield from (
            replace(example, beside=replace(beside, content=content))
            for content in CONTENTS[: CONTENTS.index(beside.content)]
        )
        yield from (
            replace(example, beside=replace(beside, count=count)) for count in counts[: _index(counts, beside.count)]
        )
        kinds = KINDS if pattern.kind == EXPLICIT else KINDS[: KINDS.index(pattern.kind)]
        yield from (replace(example, pattern=replace(pattern, kind=kind, values=())) for kind in kinds)
        if pattern.kind != EXPLICIT:
            norms = NORMS[: _index(NORMS, pattern.norm)]
            yield from (replace(example, pattern=replace(pattern, norm=norm)) for norm in norms)
            yield from (replace(example, pattern=replace(pattern, layer=layer)) for layer in range(pattern.layer))

    def _sweep(self, brief: bool) -> Iterator[Example]:
        """Every pattern at the first and the last moment, some in between; some beside rows of other contents and numbers."""
        geometry = self.moments[0].geometry
        patterns = sweep_patterns(len(geometry.sizes))
        some, few = patterns[::3], patterns[:: max(1, len(patterns) // 8)]
        typical = geometry.counts()[0]
        ends = {0, len(self.moments) - 1}
        for index in range(len(self.moments)):
            chosen = patterns if index in ends and not brief else some
            yield from (Example(moment=index, beside=Beside(count=typical), pattern=p) for p in chosen)
            for content in CONTENTS[1:]:
                if index in ends or not brief:
                    beside = Beside(content=content, count=typical)
                    yield from (Example(moment=index, beside=beside, pattern=p) for p in few)
        for norm in NORMS:
            yield Example(beside=Beside(count=typical), pattern=RowPattern(norm=norm))
        for count in geometry.counts()[1:]:
            for kind in ("equal", "spread", "one_hot", "zero"):
                yield Example(beside=Beside(content="mixed", count=count), pattern=RowPattern(kind=kind))

    def _effect(self, example: Example, row: Tensor) -> Effect | CandidateError | None:
        self.tried += 1
        moment = self.moments[example.moment]
        try:
            moment.reading(example.beside)
        except (CandidateError, Unreadable) as error:
            if example.beside.count:  # no row at all is judged by the check of empty batches
                self._note(error)
            return None
        try:
            effect = moment.effect(example.beside, row)
        except CandidateError as error:
            return error
        except Unreadable as error:
            if example.beside.count:
                self._note(error)
            return None
        if effect.finite and effect.noise_ratio is None and (self.worst is None or effect.sigma < self.worst[0]):
            self.worst = effect.sigma, example
        return effect

    def _note(self, error: Exception) -> None:
        why = str(error).partition(": ")[2] or str(error)
        self.unreadable[why] = self.unreadable.get(why, 0) + 1

    def _comparable(self, example: Example) -> bool:
        """Whether no internal noisy release could cover a change of the noise scale: every latent is in the release."""
        reading = self.moments[example.moment].reading(example.beside)
        return reading.latents <= reading.at.numel()


def _index(values: Sequence[float], value: float) -> int:
    return values.index(value) if value in values else len(values)


def explicit(row: Tensor, bound: float) -> RowPattern:
    """A row as a pattern that holds its coordinates, to six digits."""
    values = tuple(float(f"{value:.6g}") for value in (row.to(torch.float64) / bound).tolist())
    return RowPattern(kind=EXPLICIT, norm=0.0, values=values)
