"""Denominators that cannot vanish, where ranges alone do not show it: ``n + r / (n + r)`` is positive for every ``n >= 0``."""

from typing import TYPE_CHECKING

from .intervals import Interval, interval_power, interval_product

if TYPE_CHECKING:
    from .expression_store import ExpressionStore


def stays_positive(table: "ExpressionStore", x: int) -> bool:
    """Whether ``x`` is at least some positive number for all inputs.

    Shown for sums of non-negative terms ``k * v + q``: for ``v >= 1`` the first is at least ``k``, and for ``v <= 1`` the
    second must be above 0. (Derived here. A plain range takes the smallest of each, which are not attained together.)
    """
    constant, terms = table.linear(x)
    if constant < 0 or any(not interval_product(table.range(t), (k, k))[0] >= 0 for t, k in terms):
        return False
    for chosen, factor in terms:
        others = [t for t, k in terms if k > 0 and t != chosen]
        if factor > 0 and table.is_nonnegative(chosen) and any(_range_where(table, t, chosen)[0] > 0 for t in others):
            return True
    return False


def _range_where(table: "ExpressionStore", x: int, small: int) -> Interval:
    """Range of ``x`` where the non-negative ``small`` is at most 1."""
    if x == small:
        return 0.0, 1.0
    node = table.nodes[x]
    match node[0]:
        case "lin":
            constant, terms = table.linear(x)
            low = high = constant
            for term, k in terms:
                ends = interval_product(_range_where(table, term, small), (k, k))
                low, high = low + ends[0], high + ends[1]
            return low, high
        case "mul":
            result: Interval = (1.0, 1.0)
            for factor, exponent in table.factors(x)[1]:
                result = interval_product(result, interval_power(_range_where(table, factor, small), exponent))
            return result
        case _:
            return table.range(x)
