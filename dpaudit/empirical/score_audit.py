"""What scores of a training attack say about a claim: bounds, refutation at the gate's level, and what is needed for one.

One family of tests an audit: the gate's level is divided among the listening places before any score exists, and each
place spends its share on the tests that its design supports. ``one_run``: half on Steinke et al., half on the claimed
trade-off curve by Mahloujifar et al. ``independent``: half on Clopper-Pearson, half on the claimed curve. Where the cell has
no trade-off curve (shuffle), the other half is not spent.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from dpaudit.contract import EventTrace, RunConfig, Sampler

from .accountant_family import accountant_inverse, optimistic_epsilon, refutes, smallest_refuted
from .all_bounds import bounds_on
from .bound import Design, LowerBound
from .claims import budget_factor
from .one_run import GUESS_SHARES, Guesses, curve_refuted, steinke_epsilon, tries
from .planning import GATE_LEVEL, PRINT_LEVEL
from .rectangle import Tally, clopper_pearson_epsilon
from .scores import Scores
from .thresholds import FAMILY_FREE_SHARES, RUN_SHARES, tally_at

_MOST = 1 << 17
"""Canaries or runs beyond which a plan says that no number suffices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What is attacked.

    Attributes:
        trace: the schedule that the mechanism reports, ``None`` where the cell has no trade-off curve.
        budget: that schedule with its noise scaled until it costs the target: its curve is the claimed one.
    """

    epsilon: float
    delta: float
    trace: EventTrace | None
    budget: EventTrace | None

    @classmethod
    def of(cls, config: RunConfig, sigmas: tuple[float, ...] | None = None) -> "Claim":
        """The claim of a run that reported ``sigmas``; by default the constructor's noise multiplier at every step."""
        said = (config.noise_multiplier,) * config.total_steps if sigmas is None else sigmas
        usable = config.cell.sampler is not Sampler.SHUFFLE and min(said) > 0
        trace = EventTrace.of_run(config, said) if usable else None
        factor = None if trace is None else _factor(trace, config.target_epsilon, config.target_delta)
        budget = None if trace is None or factor is None else trace.scaled(factor)
        return cls(epsilon=config.target_epsilon, delta=config.target_delta, trace=trace, budget=budget)


@lru_cache(maxsize=64)
def _factor(trace: EventTrace, epsilon: float, delta: float) -> float | None:
    return budget_factor(trace, epsilon, delta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One listening place of a training attack, planned before any compute.

    Attributes:
        name: printed.
        trials: canaries of one run, or runs.
        gate_level, print_level: its shares.
        ceiling: the largest epsilon that a perfect attack would show at the gate's share, family-free or by the curve.
        able: whether a perfect attack would refute the claim there.
        needed: the smallest number of trials with which one would; ``None`` if none up to 131,072 suffices.
    """

    name: str
    design: Design
    trials: int
    gate_level: float
    print_level: float
    ceiling: float
    able: bool
    needed: int | None


def plan_places(claim: Claim, places: dict[str, int], *, design: Design) -> tuple[Place, ...]:
    """Shares, ceilings and needed counts for ``places`` (name to number of canaries or runs)."""
    made = []
    for name, trials in places.items():
        gate, shown = GATE_LEVEL / len(places), PRINT_LEVEL / len(places)
        made.append(
            Place(
                name=name,
                design=design,
                trials=trials,
                gate_level=gate,
                print_level=shown,
                ceiling=_perfect_epsilon(claim, trials, gate, design),
                able=bool(_perfect_refutation(claim, trials, gate, design)),
                needed=_needed(lambda n, level=gate: bool(_perfect_refutation(claim, n, level, design))),  # type: ignore[misc]
            )
        )
    return tuple(made)


def refuted(scores: Scores, claim: Claim, place: Place) -> str:
    """Which test refutes the claim at the place's share of the gate's level; "" if none does.

    Guarantee: a mechanism that keeps the claim is refuted with probability at most ``place.gate_level``. What is refuted is
    "(epsilon, delta)" by the family-free test, and the claimed trade-off curve by the other.
    """
    if place.design is Design.ONE_RUN:
        return _one_run_refuted(tries(scores.inside, scores.outside), claim, place.gate_level)
    return _independent_refuted(
        lambda shares: [tally_at(at, scores.inside, scores.outside) for at in _ranks(scores, shares)],
        claim,
        place.gate_level,
    )


def printed_bounds(scores: Scores, claim: Claim, place: Place, *, seed: int) -> tuple[LowerBound, ...]:
    """All bounds on the scores at the place's share of 5 %, those that the design does not support marked invalid."""
    names = ["steinke", "one_run_fdp", "clopper_pearson", "gdp"]
    if claim.trace is not None:
        names += ["one_run_fdp_accountant", "accountant_family"]
    return bounds_on(
        scores,
        delta=claim.delta,
        level=place.print_level,
        design=place.design,
        methods=tuple(names),
        trace=claim.trace,
        seed=seed,
    )


FIRST_CHOICE = {Design.ONE_RUN: ("one_run_fdp_accountant", "steinke"), Design.INDEPENDENT: ("accountant_family", "gdp")}
"""Whose epsilon counts at a place, fixed in advance: the first of these that the cell supports and the design makes valid."""


def counted_bound(bounds: tuple[LowerBound, ...], design: Design) -> LowerBound | None:
    """The bound that was chosen in advance to count."""
    named = {bound.method: bound for bound in bounds if bound.valid}
    return next((named[name] for name in (*FIRST_CHOICE[design], "clopper_pearson") if name in named), None)


def _one_run_refuted(tried: list[Guesses], claim: Claim, level: float) -> str:
    share = level / 2 / len(tried)
    if any(steinke_epsilon(found, claim.delta, share) > claim.epsilon for found in tried):
        return "steinke"
    if claim.budget is not None:
        inverse = accountant_inverse(claim.budget)
        if any(curve_refuted(found, inverse, share) for found in tried):
            return "one_run_fdp_accountant"
    return ""


def _independent_refuted(tallies: Callable[[tuple[float, ...]], list[Tally]], claim: Claim, level: float) -> str:
    free, curve = tallies(FAMILY_FREE_SHARES), tallies(RUN_SHARES)
    half = level / 2
    if any(clopper_pearson_epsilon(t.rectangle(half / len(free)), claim.delta) > claim.epsilon for t in free):
        return "clopper_pearson"
    if claim.budget is not None and any(refutes(t.rectangle(half / len(curve)), claim.budget) for t in curve):
        return "accountant_family"
    return ""


def _ranks(scores: Scores, shares: tuple[float, ...]) -> list[float]:
    """As :class:`thresholds.Bonferroni`: ranks of the "out" scores that are fixed in advance."""
    ordered = sorted(scores.outside.tolist(), reverse=True)
    places = sorted({min(len(ordered) - 1, int(share * len(ordered))) for share in shares})
    return [ordered[place] for place in places]


def _perfect_guesses(trials: int) -> list[Guesses]:
    sizes = sorted({min(trials, max(2, int(share * trials))) for share in GUESS_SHARES})
    return [Guesses(canaries=trials, guessed=size, correct=size) for size in sizes]


def _perfect_tallies(trials: int) -> Callable[[tuple[float, ...]], list[Tally]]:
    half = max(1, trials // 2)
    return lambda shares: [
        Tally(false_positives=int(share * half), outside=half, false_negatives=0, inside=half) for share in shares
    ]


def _perfect_refutation(claim: Claim, trials: int, level: float, design: Design) -> str:
    if trials < 2:
        return ""
    if design is Design.ONE_RUN:
        return _one_run_refuted(_perfect_guesses(trials), claim, level)
    return _independent_refuted(_perfect_tallies(trials), claim, level)


def _perfect_epsilon(claim: Claim, trials: int, level: float, design: Design) -> float:
    if trials < 2:
        return 0.0
    if design is Design.ONE_RUN:
        tried = _perfect_guesses(trials)
        free = max(steinke_epsilon(found, claim.delta, level / 2 / len(tried)) for found in tried)
    else:
        tallies = _perfect_tallies(trials)(FAMILY_FREE_SHARES)
        free = max(clopper_pearson_epsilon(t.rectangle(level / 2 / len(tallies)), claim.delta) for t in tallies)
    if claim.trace is None:
        return free
    found = smallest_refuted(
        claim.trace, lambda scaled: bool(_perfect_refutation(replace(claim, budget=scaled), trials, level, design))
    )
    return free if found is None else max(free, optimistic_epsilon(claim.trace.scaled(found), claim.delta))


def _needed(enough: Callable[[int], bool]) -> int | None:
    high = 8
    while not enough(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > max(1, high // 64):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
