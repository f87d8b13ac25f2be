"""The whole privacy curve of a trace, and the trade-off curve of the test that tells neighbours apart.

Notation: alpha is the false positive rate of a test, beta(alpha) the least false negative rate that the mechanism
allows.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from dpaudit.contract import EventTrace, Sampler, UnsupportedCellError, UsageError

from .cells import lower_family, require_answered, require_no_preparation, upper_family
from .composed import Composed
from .gaussian_curve import hockey_stick
from .sampled_gaussian import compositions, schedule_of
from .step_family import PairKind, StepFamily

Floats = NDArray[np.float64]

_SHARP_AT = (math.log(0.3), math.log(1e-3), math.log(1e-7))
"""Log deltas at which a composition is made sharp; the best of the three is taken at every epsilon."""
_GRID_AT = math.log(1e-5)
_EPSILONS = 6000


def delta_at(trace: EventTrace, epsilons: Floats, *, pessimistic: bool) -> Floats:
    """A bound on delta at every epsilon >= 0: an upper bound if ``pessimistic``, else a lower bound.

    Guarantee: that of :func:`epsilon_bracket`, end by end. Shape: that of ``epsilons``. Absolute accuracy near 1e-12.

    Errors: ``UnsupportedCellError`` for cells that are not answered, and for shuffle, whose ends have no common pair.
    """
    values = np.asarray(epsilons, dtype=np.float64)
    if not (values >= 0).all():
        raise UsageError("delta_at: every epsilon must be a number >= 0")
    directions = _directions(trace, pessimistic=pessimistic)
    flat = values.ravel()
    found = [_delta(direction, flat, pessimistic=pessimistic) for direction in directions]
    return np.asarray(np.max(found, axis=0).reshape(values.shape))


def tradeoff_curve(trace: EventTrace, alphas: Floats, *, pessimistic: bool) -> Floats:
    """A bound on beta at every alpha in [0, 1].

    ``pessimistic``: a lower bound that no test against any pair of neighbours can beat; a test below it refutes the
    trace. Otherwise an upper bound: some pair admits a test at least that good. beta(alpha) = sup over real eps of 1 -
    delta(eps) - e^eps alpha (Dong, Roth and Su 2022, arXiv 1905.02383v3, Proposition 2.12), where negative eps are the
    other direction's positive ones. A finite set of eps can only lower the supremum, so the upper bound takes each
    delta at the far end of its cell.

    Errors: as :func:`delta_at`; ``UsageError`` for an alpha outside [0, 1].
    """
    values = np.asarray(alphas, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise UsageError("tradeoff_curve: every alpha must lie in [0, 1]")
    flat = values.ravel()
    directions = _directions(trace, pessimistic=pessimistic)
    epsilons = _epsilon_grid(directions, pessimistic=pessimistic)
    forward = _delta(directions[0], epsilons, pessimistic=pessimistic)
    backward = _delta(directions[-1], epsilons, pessimistic=pessimistic)
    if pessimistic:
        worst = np.maximum(forward, backward)
        beta = _supremum(epsilons, worst, worst, flat)
    else:
        forward, backward = np.append(forward[1:], 0.0), np.append(backward[1:], 0.0)  # beyond the last: delta >= 0
        beta = np.minimum(_supremum(epsilons, forward, backward, flat), _supremum(epsilons, backward, forward, flat))
    return np.asarray(np.clip(beta, 0.0, 1.0 - flat).reshape(values.shape))


def _supremum(epsilons: Floats, right: Floats, left: Floats, alphas: Floats) -> Floats:
    """max over eps of 1 - right - e^eps alpha and of e^-eps (1 - left - alpha), at least 0."""
    growth = np.exp(epsilons)
    best = np.zeros(alphas.shape)
    for index, alpha in enumerate(alphas):
        best[index] = max(0.0, float((1 - right - growth * alpha).max()), float(((1 - left - alpha) / growth).max()))
    return best


def _epsilon_grid(directions: "list[_Direction]", *, pessimistic: bool) -> Floats:
    """From 0 to where delta is about 1e-9, evenly spaced."""
    top = 1.0
    for direction in directions:
        if isinstance(direction, float):
            top = max(top, direction * direction / 2 + 6.5 * direction)
        else:
            sharpest = direction[-1]
            reached = sharpest.epsilon(1e-9, pessimistic=pessimistic)
            top = max(top, reached if math.isfinite(reached) else float(sharpest.losses[-1]))
    return np.linspace(0.0, min(top, 700.0), _EPSILONS)


_Direction = float | tuple[Composed, ...]
"""mu of an exact Gaussian, or the compositions of one direction."""


def _delta(direction: _Direction, epsilons: Floats, *, pessimistic: bool) -> Floats:
    if isinstance(direction, float):
        if direction == 0 or math.isinf(direction):
            return np.full(epsilons.shape, 0.0 if direction == 0 else 1.0)
        widen = 1e-12 if pessimistic else -1e-12
        return np.clip(hockey_stick(epsilons, direction) + widen, 0.0, 1.0)
    found = [curve.deltas(epsilons, pessimistic=pessimistic) for curve in direction]
    return np.asarray(np.min(found, axis=0) if pessimistic else np.max(found, axis=0))


@lru_cache(maxsize=8)
def _directions(trace: EventTrace, *, pessimistic: bool) -> list[_Direction]:
    """The composed pair in either direction; one entry where both are the same."""
    require_answered(trace.cell)
    require_no_preparation(trace, what="a trade-off curve")
    if trace.cell.sampler is Sampler.SHUFFLE:
        raise UnsupportedCellError("trade-off curve: shuffle has bounds from two different pairs; use epsilon_bracket")
    schedule = schedule_of(trace.sigmas)
    family: StepFamily = upper_family(trace) if pessimistic else lower_family(trace)
    if 0 in trace.sigmas and pessimistic:
        return [math.inf]
    if not schedule:
        return [0.0]
    if family.q == 1 and family.truncation is None:
        reach = 2.0 if family.kind is PairKind.REPLACE else family.reach
        return [reach * math.sqrt(math.fsum(count / sigma**2 for sigma, count in schedule))]
    by_target = [
        compositions(family, schedule, target, from_above=pessimistic, grid_log_delta=_GRID_AT) for target in _SHARP_AT
    ]
    return [tuple(column) for column in zip(*by_target, strict=True)]


def gaussian_tradeoff(alphas: Floats, mu: float) -> Floats:
    """beta of N(mu, 1) against N(0, 1) in closed form: Phi(Phi^-1(1 - alpha) - mu)."""
    return np.asarray(ndtr(ndtri(1 - alphas) - mu))
