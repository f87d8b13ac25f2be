"""What one run with m canaries could show, before it is trained: ceilings, needed canaries, and what the noise model expects."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from dpaudit.contract import EventTrace, UsageError

from .accountant_family import accountant_inverse, one_run_accountant
from .bound import Design, LowerBound
from .model import simulated_scores
from .one_run import GUESS_SHARES, Guesses, curve_refuted, guess_sizes, steinke, steinke_epsilon, tries

_MOST = 1 << 17


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryPlan:
    """One bound of one run with ``canaries`` canaries.

    Attributes:
        method: of the bound.
        ceiling: epsilon that a perfect attack would show at the level.
        expected: epsilon in the noise model with a Dirac canary for each coin, treated as if their scores were independent;
            ``None`` where the sampler is not simulated. For planning only.
        needed: fewest canaries with which a perfect attack would show more than the target; ``None`` if none up to 131,072 would.
    """

    method: str
    canaries: int
    ceiling: float
    expected: float | None
    needed: int | None


def plan_canaries(
    trace: EventTrace, *, canaries: int, epsilon: float, delta: float, level: float, simulate: bool, seed: int = 0
) -> tuple[CanaryPlan, ...]:
    """Plans for both one-run bounds that may reject.

    Args:
        trace: the claim's event at the noise that costs ``epsilon``: refuting its curve refutes the claim.
        simulate: whether the model knows the trace's sampler.

    Raises:
        UsageError: fewer than 2 canaries.
    """
    if canaries < 2:
        raise UsageError(f"plan: expected at least 2 canaries, got {canaries}")
    inverse = accountant_inverse(trace)
    share = level / len(GUESS_SHARES)

    def family_free(found: Guesses) -> bool:
        return steinke_epsilon(found, delta, share) > epsilon

    def by_curve(found: Guesses) -> bool:
        return curve_refuted(found, inverse, share)

    design = Design.ONE_RUN
    perfect = [Guesses(canaries=canaries, guessed=size, correct=size) for size in guess_sizes(canaries)]
    bounds: dict[str, tuple[Callable[[list[Guesses]], LowerBound], Callable[[Guesses], bool]]] = {
        "steinke": (lambda tried: steinke(tried, delta=delta, level=level, design=design), family_free),
        "one_run_fdp_accountant": (
            lambda tried: one_run_accountant(tried, trace=trace, delta=delta, level=level, design=design),
            by_curve,
        ),
    }
    expected = _simulated(trace, canaries, seed) if simulate else None
    return tuple(
        CanaryPlan(
            method=method,
            canaries=canaries,
            ceiling=bound(perfect).epsilon,
            expected=None if expected is None else bound(expected).epsilon,
            needed=fewest(refutes),
        )
        for method, (bound, refutes) in bounds.items()
    )


def canaries_needed(epsilon: float, delta: float, level: float) -> int | None:
    """Fewest canaries with which a perfect attack shows more than ``epsilon``, family-free; ``None``: not even 131,072."""
    return fewest(lambda found: steinke_epsilon(found, delta, level / len(GUESS_SHARES)) > epsilon)


def fewest(refutes: Callable[[Guesses], bool]) -> int | None:
    """Fewest canaries at which perfect guesses about a share of :data:`GUESS_SHARES` refute."""

    @cache
    def enough(canaries: int) -> bool:
        return any(refutes(Guesses(canaries=canaries, guessed=size, correct=size)) for size in guess_sizes(canaries))

    high = 2
    while not enough(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _simulated(trace: EventTrace, canaries: int, seed: int) -> list[Guesses]:
    inside, outside = simulated_scores(trace, runs=canaries, seed=seed)
    heads = max(1, min(canaries - 1, int(np.random.default_rng(seed).binomial(canaries, 0.5))))
    return tries(inside[:heads], outside[: canaries - heads])
