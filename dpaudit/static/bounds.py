"""Upper bound of an expression over a box of norm variables, by interval arithmetic and bisection.

The quantity to bound is ``sum_k weight_k * y_k * W_k(y)`` where ``y_k >= 0`` are sums of squares ("norm variables")
and ``W_k`` are expressions in them. Plain interval arithmetic fails on ``y * min(1, C^2 / y)`` for unbounded ``y``, so
a monomial of variables is pushed inside ``min``, ``max``, ``where`` and sums before anything is evaluated:
``y * min(1, C^2/y) = min(y, C^2)``, ``y / (sqrt(y) + r)^2 = 1 / (1 + r / sqrt(y))^2``. Most bounds are exact after one
evaluation; the rest is bisected. Derived here.
"""

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .box_evaluator import BoxEvaluator
from .expressions import Table
from .intervals import VANISHING, Interval, interval_product

RELATIVE_GAP = 1e-7
MAXIMAL_BOXES = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """``weight * variable * factor``: one group of coordinates in the squared norm of a contribution."""

    weight: float
    variable: int
    factor: int


def supremum(
    table: Table,
    terms: Sequence[Term],
    norms: Mapping[int, tuple[int, dict[int, float]]],
    publics: Mapping[int, int],
    box: Mapping[int, Interval],
) -> float:
    """An upper bound of ``sum weight * variable * factor`` over the box, within ``RELATIVE_GAP`` where bisection ends in time.

    Guarantee: never below the supremum, up to double rounding. ``inf`` where nothing finite was proved.
    """

    def high(at: Mapping[int, Interval]) -> float:
        evaluator = BoxEvaluator(table, norms, publics, at)
        total = 0.0
        for term in terms:
            end = interval_product((term.weight,) * 2, evaluator.of(term.factor, ((term.variable, 1.0),)))[1]
            total += end if not math.isnan(end) else math.inf
        return total

    def attained(at: Mapping[int, Interval]) -> float:
        """The upper end at one point, below which no bisection can come."""
        return high({v: (_middle(e),) * 2 for v, e in at.items()})

    order = itertools.count()
    queue = [(-high(box), next(order), dict(box))]
    best = attained(box)
    for scale in (1e12, 1.0, 1e-12):
        if not -queue[0][0] <= best * (1 + RELATIVE_GAP):
            best = max(best, attained({v: e if e[0] == e[1] else (_near(scale, e),) * 2 for v, e in box.items()}))
    open_variables = sum(low < high for low, high in box.values())
    for _ in range(MAXIMAL_BOXES if open_variables <= 3 else MAXIMAL_BOXES // 20):
        top, _, worst = queue[0]
        if -top <= best * (1 + RELATIVE_GAP) or not any(_splittable(e) for e in worst.values()):
            break
        heapq.heappop(queue)
        variable = max(worst, key=lambda v: _width(worst[v]))
        for half in _halves(worst[variable]):
            part = {**worst, variable: half}
            best = max(best, attained(part))
            heapq.heappush(queue, (-high(part), next(order), part))
    return -queue[0][0] + _where_squares_vanish(table, terms, norms, publics, box)


def _where_squares_vanish(
    table: Table,
    terms: Sequence[Term],
    norms: Mapping[int, tuple[int, dict[int, float]]],
    publics: Mapping[int, int],
    box: Mapping[int, Interval],
) -> float:
    """What a row adds whose squares float32 flushes to zero, so that its norm reads 0: ``VANISHING`` times its factor there.

    Where there is no bound of the factor: nothing, if private values that can vanish are divided by, because that they do not
    is an assumption that the result states; else infinity.
    """
    total = 0.0
    for term in terms:
        if term.variable in publics.values():
            continue
        low, high = box[term.variable]
        tiny = {**box, term.variable: (min(low, VANISHING), min(high, VANISHING))}
        factor = BoxEvaluator(table, norms, publics, tiny).of(term.factor)[1]
        added = term.weight * min(high, VANISHING) * factor if factor > 0 or math.isnan(factor) else 0.0
        total += added if math.isfinite(added) else 0.0 if table.divided_by_vanishing else math.inf
    return total


def _near(scale: float, ends: Interval) -> float:
    return min(max(scale, ends[0]), ends[1])


def _middle(ends: Interval) -> float:
    low, high = ends
    if low < 0:
        return (max(low, -1e9) + min(high, 1e9)) / 2
    if math.isinf(high):
        return max(1.0, 4 * low)
    return math.sqrt(low * high) if low > 0 else high / 4


def _halves(ends: Interval) -> tuple[Interval, Interval]:
    middle = _middle(ends)
    return (ends[0], middle), (middle, ends[1])


def _width(ends: Interval) -> float:
    low, high = ends
    if low < 0:
        return high - low
    if math.isinf(high):
        return 100.0
    return math.log(high / low) if low > 0 else (60.0 + math.log10(high) if high > 1e-30 else 0.0)


def _splittable(ends: Interval) -> bool:
    low, high = ends
    return high > low and low < 1e30 and high > 1e-30 and (low <= 0 or high / low > 1 + 1e-9)
