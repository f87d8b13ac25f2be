"""Bounds within the declared event: which factor on the declared noise do the error rates still allow?

Notation: s scales every sigma of the declared trace; beta_s is its trade-off curve. s is refuted where the rectangle lies
below beta_s. Curves are pessimistic (no test against any pair does better), the epsilon quoted is optimistic
(some pair attains it), so both approximations err against the auditor. The trials see the steps alone, so beta_s is the curve of
the steps; the epsilon is that of the whole run, releases before training included.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dpaudit.accounting.epsilon import epsilon_bracket
from dpaudit.accounting.tradeoff import delta_at, tradeoff_curve
from dpaudit.contract import EventTrace, Relation

from .bound import Design, Family, LowerBound, require_delta, require_level
from .one_run import Guesses, Inverse, curve_refuted
from .ranks import Curve, Ranked, largest_mu, p_value
from .ranks import curve_refuted as curve_refuted_by_ranks
from .rectangle import Rectangle, Tally, gaussian_mu
from .sequential import PairWealth

_RATIO = 1.01
"""Factors are powers of this: the largest loss of tightness is 1 % of the noise scale."""
_REACH = 460  # powers: factors from 0.01 to 97


@lru_cache(maxsize=4096)
def least_fnr(trace: EventTrace, fpr: float) -> float:
    """beta of the trace at one false positive rate, from below."""
    return float(tradeoff_curve(trace.without_preparation(), np.array([min(1.0, fpr)]), pessimistic=True)[0])


@lru_cache(maxsize=256)
def most_right_pairs(trace: EventTrace) -> float:
    """An upper bound on (1 - a)(1 - beta(a)) over all a: beta falls, so each cell of a grid is taken at its far corner."""
    alphas = np.linspace(0.0, 1.0, 801)
    beta = tradeoff_curve(trace.without_preparation(), alphas, pessimistic=True)
    return float(((1 - alphas[:-1]) * (1 - beta[1:])).max())


def refutes(rectangle: Rectangle, trace: EventTrace) -> bool:
    """Whether no mechanism dominated by the trace has error rates within the rectangle."""
    return rectangle.fnr < least_fnr(trace, rectangle.fpr)


@lru_cache(maxsize=1024)
def optimistic_epsilon(trace: EventTrace, delta: float) -> float:
    """Lower end of the accountant's bracket; 0 where it has none."""
    return epsilon_bracket(trace, delta).lower or 0.0


def ceiling_epsilon(trace: EventTrace, delta: float) -> float:
    """The same for what could at best be shown: the upper end where the lower one overflows, at very little noise."""
    bracket = epsilon_bracket(trace, delta)
    return bracket.lower or bracket.upper or 0.0


def smallest_refuted(trace: EventTrace, refuted: Callable[[EventTrace], bool]) -> float | None:
    """The smallest factor (a power of 1.01) such that it and all larger ones are refuted; ``None`` if none is.

    Refutation is monotone: more noise is a post-processing of less, so what less noise cannot explain more cannot.
    """
    if not refuted(trace.scaled(_RATIO**_REACH)):
        return None
    low, high = -_REACH, _REACH  # high is refuted
    start = 0
    if refuted(trace):
        high = start
    else:
        low = start
    step = 16
    while high - low > 1:  # gallop from 1 outwards, then bisect: few curves are far from 1
        near = high - step if high <= start else low + step
        middle = near if low < near < high else (low + high) // 2
        if refuted(trace.scaled(_RATIO**middle)):
            high = middle
        else:
            low = middle
        step *= 2
    return _RATIO**high


def accountant_family(tally: Tally, *, trace: EventTrace, delta: float, level: float, design: Design) -> LowerBound:
    """epsilon of the least noise scale that is refuted. Tightest on scores of whole runs.

    Assumes that the mechanism is the declared event with its noise scaled. "The declared curve is refuted" (deficit below 1)
    needs no such assumption. Source: derived here from Dong, Roth and Su 2022 (arXiv 1905.02383v3), Proposition 2.12.
    """
    require_level(level)
    require_delta(delta)
    rectangle, perfect = tally.rectangle(level), tally.perfect.rectangle(level)
    return _bound(
        "accountant_family",
        trace,
        delta,
        level,
        design,
        tally.counts,
        lambda scaled: refutes(rectangle, scaled),
        lambda scaled: refutes(perfect, scaled),
    )


def accountant_family_by_ranks(
    counts: Sequence[Ranked], *, trace: EventTrace, delta: float, level: float, design: Design
) -> LowerBound:
    """The same by the exact test of :mod:`ranks`, which pays less for the false positive rate."""
    require_level(level)
    require_delta(delta)
    perfect = [count.perfect for count in counts]
    telling = min(counts, key=lambda count: p_value(count, trace_curve(trace)))
    return _bound(
        "accountant_family",
        trace,
        delta,
        level,
        design,
        telling.counts,
        lambda scaled: curve_refuted_by_ranks(counts, trace_curve(scaled), level),
        lambda scaled: curve_refuted_by_ranks(perfect, trace_curve(scaled), level),
    )


def trace_curve(trace: EventTrace) -> Curve:
    """The pessimistic curve of the trace's steps: no test against any pair does better."""
    steps = trace.without_preparation()
    return lambda rates: tradeoff_curve(steps, rates, pessimistic=True)


def per_step(
    counted: Tally | Sequence[Ranked],
    *,
    sigma: float,
    trace: EventTrace,
    delta: float,
    level: float,
    design: Design,
) -> LowerBound:
    """Scores of ONE step given that the canary takes part: bound its noise, scale the declared trace alike, compose.

    Assumes that the sampler is the declared one, that all steps are off by the same factor, and that given inclusion a
    step is Gaussian. Units: ``sigma`` is the declared noise multiplier of the step scored. Source: Nasr et al. 2023
    (arXiv 2302.07956), section 5.
    """
    require_level(level)
    require_delta(delta)

    if isinstance(counted, Tally):
        counts = counted.counts
        mu, best = gaussian_mu(counted.rectangle(level)), gaussian_mu(counted.perfect.rectangle(level))
    else:
        counts = counted[0].counts
        mu, best = largest_mu(counted, level), largest_mu([count.perfect for count in counted], level)

    def below(scaled: EventTrace, shown: float) -> bool:
        factor = scaled.sigmas[0] / trace.sigmas[0]
        return shown > reach_of(trace) / (factor * sigma)

    return _bound(
        "per_step",
        trace,
        delta,
        level,
        design,
        counts,
        lambda scaled: below(scaled, mu),
        lambda scaled: below(scaled, best),
    )


def paired(
    right: NDArray[np.bool_], *, trace: EventTrace, delta: float, level: float, design: Design, counts: dict[str, int]
) -> LowerBound:
    """The least noise scale that the sequential pair test refutes; holds at whichever pair one stopped.

    One wealth for each scale: refuting a scale refutes all larger ones, so no share of the level is lost.
    """
    require_level(level)
    require_delta(delta)

    def refuted(pairs: NDArray[np.bool_], scaled: EventTrace) -> bool:
        wealth = PairWealth.against(most_right=most_right_pairs(scaled), level=level)
        wealth.update(pairs)
        return wealth.refuted

    found = smallest_refuted(trace, lambda scaled: refuted(right, scaled))
    best = smallest_refuted(trace, lambda scaled: refuted(np.ones_like(right), scaled))
    return LowerBound(
        method="sequential_pairs",
        epsilon=0.0 if found is None else optimistic_epsilon(trace.scaled(found), delta),
        ceiling=0.0 if best is None else ceiling_epsilon(trace.scaled(best), delta),
        delta=delta,
        level=level,
        counts=counts,
        design=design,
        family=Family.ACCOUNTANT,
        valid=design is Design.INDEPENDENT,
        noise_deficit=found,
    )


def reach_of(trace: EventTrace) -> float:
    """How far one row moves a step's sum, in multiples of the sensitivity: a replaced row goes from -S to S."""
    return 2.0 if trace.cell.relation is Relation.REPLACE_ONE else 1.0


def _bound(
    method: str,
    trace: EventTrace,
    delta: float,
    level: float,
    design: Design,
    counts: dict[str, int],
    refuted: Callable[[EventTrace], bool],
    by_perfect: Callable[[EventTrace], bool],
) -> LowerBound:
    found, best = smallest_refuted(trace, refuted), smallest_refuted(trace, by_perfect)
    return LowerBound(
        method=method,
        epsilon=0.0 if found is None else optimistic_epsilon(trace.scaled(found), delta),
        ceiling=0.0 if best is None else ceiling_epsilon(trace.scaled(best), delta),
        delta=delta,
        level=level,
        counts=counts,
        design=design,
        family=Family.ACCOUNTANT,
        valid=design is Design.INDEPENDENT,
        noise_deficit=found,
    )


@lru_cache(maxsize=256)
def accountant_inverse(trace: EventTrace) -> Inverse:
    """The inverse that :func:`one_run.curve_refuted` needs, from below, of the trace's pessimistic curve."""
    trace = trace.without_preparation()
    top = max(2.0, 3.0 * optimistic_epsilon(trace, 1e-6))
    epsilons = np.linspace(0.0, min(top, 60.0), 400)
    deltas = delta_at(trace, epsilons, pessimistic=True)
    growth = np.exp(epsilons)

    def inverse(y: float) -> float:
        first = float(((y - deltas) / growth).max())
        second = float((1 - deltas - growth * (1 - y)).max())
        return max(0.0, first, second)

    return inverse


def one_run_accountant(
    tried: list[Guesses], *, trace: EventTrace, delta: float, level: float, design: Design
) -> LowerBound:
    """One-run f-DP bound with the accountant's own curve. Valid for one run with independent inclusion coins.

    Source: Mahloujifar, Melis and Chaudhuri 2024, arXiv 2410.22235; see :func:`one_run.curve_refuted`.
    """
    require_level(level)
    require_delta(delta)
    share = level / len(tried)

    def scale(found: Guesses) -> float:
        factor = smallest_refuted(trace, lambda scaled: curve_refuted(found, accountant_inverse(scaled), share))
        return math.inf if factor is None else factor

    factors = [scale(found) for found in tried]
    best = min(range(len(tried)), key=factors.__getitem__)
    ceiling = min(scale(found.perfect) for found in tried)
    return LowerBound(
        method="one_run_fdp_accountant",
        epsilon=0.0 if math.isinf(factors[best]) else optimistic_epsilon(trace.scaled(factors[best]), delta),
        ceiling=0.0 if math.isinf(ceiling) else ceiling_epsilon(trace.scaled(ceiling), delta),
        delta=delta,
        level=level,
        counts=tried[best].counts,
        design=design,
        family=Family.ACCOUNTANT,
        valid=design is Design.ONE_RUN,
        noise_deficit=None if math.isinf(factors[best]) else factors[best],
        note="" if design is Design.ONE_RUN else "needs independent inclusion coins, which fixed counts are not",
    )
