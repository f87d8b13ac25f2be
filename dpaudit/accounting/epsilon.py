"""epsilon_bracket: what a trace costs, bounded from both sides."""

import math
from functools import lru_cache

import numpy as np

from dpaudit.contract import Bracket, EventTrace, Relation, Sampler, UsageError

from .cells import (
    lower_family,
    preparation_mu,
    require_answered,
    require_no_preparation,
    unamplified_mu,
    upper_family,
)
from .discretise import LOSS_LIMIT
from .gaussian_curve import gaussian_epsilon, hockey_stick
from .prepared import prepared_epsilon
from .privacy_curves import PrivacyCurve
from .renyi import rdp_epsilon
from .sampled_gaussian import compositions, schedule_of
from .shuffled import shuffled_bracket
from .step_family import PairKind, StepFamily
from .step_rows import Schedule

_SLACK = 1e-8
"""Relative widening of both ends for what is not tracked: positions of losses, interpolation inside a cell."""


def epsilon_bracket(trace: EventTrace, delta: float) -> Bracket:
    """``lower <= epsilon(delta) <= upper`` of the trace in its cell.

    Guarantee: the upper end holds for every pair of neighbours, adaptive steps included (sigmas fixed in advance); the
    lower end is attained by one pair. Proofs: privacy_curves, discretise, composition, interpolation, shuffled. Both
    hold given the accuracy of numpy, scipy and, where the method names it, dp-accounting, at double precision.
    Assumptions: sensitivity 1 in units of which sigma is the noise multiplier; steps are Gaussian and sampled as the
    cell says. Units: epsilon in nats. Edge cases: sigma 0 gives upper inf (and lower inf if its steps alone exceed
    delta); sigma inf costs nothing; delta 0 gives inf on both sides unless nothing is released, since Gaussian losses
    are unbounded. Releases of the whole data set before training (``trace.preparation``) are composed in, not under shuffle.
    Source: section 2 of formulas: Zhu et al. 2022 (arXiv 2106.08567), Doroshenko et al. 2022 (arXiv 2207.04380).

    Errors: ``UnsupportedCellError`` for a cell without valid accounting; ``UsageError`` for delta outside [0, 1].
    """
    if not 0 <= delta <= 1:
        raise UsageError(f"epsilon_bracket: delta must lie in [0, 1], got {delta!r}")
    require_answered(trace.cell)
    return _bracket(trace, float(delta))


def upper_end(trace: EventTrace, delta: float) -> float:
    """The upper end of :func:`epsilon_bracket` alone, the very same number."""
    require_answered(trace.cell)
    return _upper(trace, float(delta))[0]


@lru_cache(maxsize=512)
def _bracket(trace: EventTrace, delta: float) -> Bracket:
    if trace.cell.sampler is Sampler.SHUFFLE:
        require_no_preparation(trace, what="shuffle")
        return shuffled_bracket(trace, delta)
    upper, upper_method = _upper(trace, delta)
    lower, lower_method = _lower(trace, delta)
    return Bracket(lower=lower, upper=upper, lower_method=lower_method, upper_method=upper_method)


@lru_cache(maxsize=512)
def _upper(trace: EventTrace, delta: float) -> tuple[float, str]:
    if trace.cell.sampler is Sampler.SHUFFLE:
        require_no_preparation(trace, what="shuffle")
        bracket = shuffled_bracket(trace, delta)
        assert bracket.upper is not None
        return bracket.upper, bracket.upper_method
    schedule = schedule_of(trace.sigmas)
    if delta >= 1:
        return 0.0, "delta 1 allows anything"
    if 0 in trace.sigmas:
        return math.inf, "a step without noise"
    if not schedule and not trace.preparation:
        return 0.0, "no step releases anything"
    if delta == 0:
        return math.inf, "Gaussian losses are unbounded"
    if not schedule:
        return gaussian_epsilon(preparation_mu(trace), delta)[1], "Gaussian, the preparation alone"
    coarse = gaussian_epsilon(unamplified_mu(trace), delta)[1], "Gaussian, no amplification"
    if trace.sampling_probability == 1 and trace.cell.sampler is Sampler.POISSON:
        return coarse
    fine = _composed(upper_family(trace), schedule, delta, preparation_mu(trace), from_above=True)
    if math.isinf(fine) and trace.cell.sampler is Sampler.POISSON and trace.cell.relation is not Relation.REPLACE_ONE:
        coarse = min(coarse, (rdp_epsilon(trace, delta), "Renyi, Poisson sampling"))
    return min((fine, "privacy loss distribution, pessimistic"), coarse)


def _lower(trace: EventTrace, delta: float) -> tuple[float, str]:
    schedule = schedule_of(trace.sigmas)
    if delta >= 1:
        return 0.0, "delta 1 allows anything"
    family = lower_family(trace)
    exposed = -math.expm1(trace.sigmas.count(0) * math.log1p(-min(family.q, 1 - 1e-16)))
    if exposed > delta:
        return math.inf, "the row is released without noise with probability above delta"
    if not schedule and not trace.preparation:
        return 0.0, "no step releases anything"
    if delta == 0:
        return math.inf, "Gaussian losses are unbounded"
    before = preparation_mu(trace)
    if not schedule:
        return gaussian_epsilon(before, delta)[0], "Gaussian, the preparation alone"
    if family.q == 1:
        mu = (2.0 if family.kind is PairKind.REPLACE else family.reach) * math.sqrt(
            math.fsum(count / sigma**2 for sigma, count in schedule)
        )
        return gaussian_epsilon(math.hypot(mu, before), delta)[0], "Gaussian, exact"
    method = "privacy loss distribution, optimistic"
    if trace.cell.sampler is Sampler.TRUNCATED_POISSON:
        method += f", Poisson pair at q = {family.q:.6g}"
    return _composed(family, schedule, delta, before, from_above=False), method


def _composed(family: StepFamily, schedule: Schedule, delta: float, before: float, *, from_above: bool) -> float:
    """The worse direction's epsilon, rounded outwards; trivial (inf or 0) where no grid represents the schedule.

    ``before``: mu of the releases before the steps, 0 for none.
    """
    if _total_variation(family, schedule) + float(hockey_stick(np.zeros(1), before)[0] if before else 0.0) <= delta:
        return 0.0
    if not before and len(schedule) == 1 and schedule[0][1] == 1:
        lower, upper = _one_step(family.curve(schedule[0][0]), delta)
        return upper * (1 + _SLACK) if from_above else lower * (1 - _SLACK)
    for share in (
        (1,) if from_above else (1, 16, 256)
    ):  # from below, fewer steps are sound: for schedules beyond any grid
        part = tuple((sigma, max(count // share, 1)) for sigma, count in schedule)
        try:
            curves = compositions(family, part, math.log(delta), from_above=from_above)
        except OverflowError:
            continue
        if before:
            epsilon = prepared_epsilon(curves, before, delta, from_above=from_above)
        else:
            epsilon = max(curve.epsilon(delta, pessimistic=from_above) for curve in curves)
        if from_above or epsilon > 0:
            return epsilon * (1 + _SLACK if from_above else 1 - _SLACK)
    return math.inf if from_above else 0.0


def _total_variation(family: StepFamily, schedule: Schedule) -> float:
    """Bound on delta(0), by the sum over steps. Where that meets delta, epsilon is 0."""
    if len(schedule) > 64:
        return math.inf
    return math.fsum(count * float(family.curve(sigma).excess(np.zeros(1))[0]) for sigma, count in schedule)


def _one_step(curve: PrivacyCurve, delta: float) -> tuple[float, float]:
    """Epsilon of a single step from its own curve, the worse direction, by bisection."""

    def exceeds(epsilon: float) -> bool:
        right, left = curve.excess(np.array([epsilon, -epsilon]))
        return max(float(right), float(left) * math.exp(epsilon)) > delta

    if exceeds(LOSS_LIMIT):
        return LOSS_LIMIT, math.inf
    low, high = 0.0, LOSS_LIMIT
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if exceeds(middle) else (low, middle)
    return low, high
