"""What an attack could show, before any of it is paid for: shares of alpha, needed trials, ceilings, expected time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from dpaudit.contract import Measurement, RunConfig, Sampler, UsageError

from .accountant_family import most_right_pairs, optimistic_epsilon, reach_of, refutes
from .claims import Schedule, schedules, steps_alone
from .rectangle import Tally, clopper_pearson_epsilon, gaussian_mu
from .sequential import PairWealth, most_right_under, pairs_to_refute

GATE_LEVEL = 1e-6
"""Family-wise error probability of a refutation, before it is confirmed with fresh seeds at the same level."""
PRINT_LEVEL = 0.05
"""Family-wise error probability of the printed lower bound."""
MODES = ("step", "run")
SECONDS_PER_CALL = 4e-4
"""Rough cost of one call at small shapes, for plans only; the attack measures its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModePlan:
    """One place to listen.

    Attributes:
        mode: ``step`` or ``run``.
        gate_level, print_level: this mode's share of the family-wise levels.
        needed: trials in each world with which a PERFECT attack would just refute the claim at ``gate_level``; ``None``
            if no number would.
        calls: calls of the mechanism in one trial.
        seconds: expected time for ``needed`` trials in both worlds, twice (test and confirmation).
    """

    mode: str
    gate_level: float
    print_level: float
    needed: int | None
    calls: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPlan:
    """Made before any compute. ``schedules``: names of the candidate schedules that a refutation must exclude, all of them."""

    modes: tuple[ModePlan, ...]
    schedules: tuple[str, ...]
    budget_seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A claim with everything that refutations of it need.

    Attributes:
        candidates: see :func:`claims.schedules`; empty where the cell has no trade-off curve.
        complete: whether the probe read every step, so that ``candidates`` contain the truth or more noise than it.
    """

    config: RunConfig
    candidates: tuple[Schedule, ...]
    complete: bool

    @classmethod
    def of(cls, config: RunConfig, measurement: Measurement) -> "Case":
        """From the probe's measurement."""
        complete = len(measurement.measured) == config.total_steps and all(
            sigma is not None and 0 < sigma < math.inf for sigma in measurement.measured
        )
        shuffled = config.cell.sampler is Sampler.SHUFFLE
        candidates = () if shuffled else schedules(config, measurement)
        return cls(config=config, candidates=candidates, complete=complete)

    def sigmas(self) -> tuple[float, ...]:
        """The claimed noise multiplier of every step: the reported one, where there is one."""
        return self.candidates[0].trace.sigmas

    def step_epsilon(self, mu: float, step: int) -> float:
        """What is proved of the whole run by "at ``step``, given inclusion, mu is at least this".

        The least over the candidate schedules, each scaled to have this noise at this step. Where the probe could not read all
        steps, also what the attacked step costs by itself, with nothing assumed of the others.
        """
        if not self.candidates or not mu > 0:
            return 0.0
        config = self.config
        sigma = reach_of(self.candidates[0].trace) / mu
        traces = [item.trace.scaled(sigma / item.trace.sigmas[step]) for item in self.candidates]
        if not self.complete:
            traces.append(steps_alone(config, sigma))
        return min(optimistic_epsilon(trace, config.target_delta) for trace in traces)

    def pairs_needed(self, level: float) -> int | None:
        """Pairs of runs with which a perfect attack would refute: the better of both tests."""
        counts = [pairs_to_refute(most_right_pairs(item.budget), level / 2) for item in self.candidates]
        if not self.candidates:
            counts = [pairs_to_refute(self.free_rate, level / 2)]
        pairs = [count for count in counts if count is not None]
        by_pairs = max(pairs) if len(pairs) == len(counts) else None
        by_rectangle = needed_trials(lambda tally: bool(self.run_refuted(tally, level)))
        known = [count for count in (by_pairs, by_rectangle) if count is not None]
        return min(known) if known else None

    def step_refuted(self, tally: Tally, step: int, level: float) -> bool:
        """Whether a one-step test at this level proves more than the target."""
        return self.step_epsilon(gaussian_mu(tally.rectangle(level)), step) > self.config.target_epsilon

    def pair_tests(self, level: float) -> tuple[PairWealth, ...]:
        """A sequential test against every candidate's budget; the claim is refuted once all have refuted.

        Where there is no candidate: one against the target (epsilon, delta) itself, which is family-free.
        """
        if not self.candidates:
            return (PairWealth.against(most_right=self.free_rate, level=level / 2),)
        return tuple(
            PairWealth.against(most_right=most_right_pairs(item.budget), level=level / 2) for item in self.candidates
        )

    @property
    def free_rate(self) -> float:
        """How often a pair of runs is called rightly at most under the target (epsilon, delta), whatever the mechanism."""
        return most_right_under(self.config.target_epsilon, self.config.target_delta)

    def run_refuted(self, tally: Tally, level: float) -> str:
        """How the rectangle of a test on whole runs refutes the claim at half this level; "" if it does not.

        The other half is spent by :meth:`pair_tests`.
        """
        rectangle, config = tally.rectangle(level / 2), self.config
        if clopper_pearson_epsilon(rectangle, config.target_delta) > config.target_epsilon:
            return "clopper_pearson"
        if self.candidates and all(refutes(rectangle, item.budget) for item in self.candidates):
            return "accountant_family"
        return ""


def make_plan(
    config: RunConfig,
    measurement: Measurement,
    *,
    modes: Sequence[str] = MODES,
    budget_seconds: float = 60.0,
) -> AttackPlan:
    """Shares, needed trials and expected time. Runs no candidate code.

    Raises:
        UsageError: an unknown or repeated mode, none, or a budget that is not positive.
    """
    if not modes or len(set(modes)) != len(modes) or not set(modes) <= set(MODES):
        raise UsageError(f"attack: expected modes among {', '.join(MODES)}, each once, got {tuple(modes)!r}")
    if not (budget_seconds > 0 and math.isfinite(budget_seconds)):
        raise UsageError(f"attack: expected a positive number of seconds, got {budget_seconds!r}")
    case = Case.of(config, measurement)
    share = GATE_LEVEL / len(modes)
    planned = []
    for mode in modes:
        if mode == "step":
            needed = needed_trials(lambda tally: case.step_refuted(tally, 0, share))
            calls = 1
        else:
            needed = case.pairs_needed(share)
            calls = config.total_steps
        seconds = math.inf if needed is None else 4 * needed * calls * SECONDS_PER_CALL
        planned.append(
            ModePlan(
                mode=mode,
                gate_level=share,
                print_level=PRINT_LEVEL / len(modes),
                needed=needed,
                calls=calls,
                seconds=seconds,
            )
        )
    return AttackPlan(
        modes=tuple(planned),
        schedules=tuple(item.name for item in case.candidates),
        budget_seconds=budget_seconds,
        notes=tuple(_notes(case)),
    )


def _notes(case: Case) -> list[str]:
    notes = ["played at shrunk parameter shapes, and with the two largest tensors alone where that shows as much"]
    if not case.candidates:
        notes.append("the cell has no common trade-off curve: only the family-free bound on whole runs applies")
    elif not case.complete:
        notes.append("the probe did not read every step: one attacked step must exceed the target by itself")
    return notes


def needed_trials(refuted: Callable[[Tally], bool]) -> int | None:
    """Least number of trials in each world with which a perfect attack refutes; ``None`` if even 2^20 do not."""

    @cache
    def enough(trials: int) -> bool:
        return refuted(Tally(false_positives=0, outside=trials, false_negatives=0, inside=trials))

    high = 8
    while not enough(high):
        high *= 2
        if high > 1 << 20:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
