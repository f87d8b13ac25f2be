"""Where a law of real numbers is used that float32 does not keep: each such use is a refusal (DPA118).

The table of expressions knows ``(w + k) - k = w``, ``(w * t) / t = w`` and ``0 * t = 0``. On a machine the first is off by
the rounding of ``k``, and the others are NaN where ``t`` is zero or infinite, or zero where ``w * t`` is too small to be
held. A candidate could hide a weight of 400, or noise that is no noise, behind one of them, for one secret value of a row,
where no test would look. While a candidate runs, the table therefore reports here what it simplifies:

- a term that cancels, or nearly (by more than ``SHRINKS``), in a sum. What was once added counts at its largest, however
  many operations later it is taken off. Beside a Gaussian draw, a term of at most ``OFFSET`` of its standard deviations may;
- a factor that is divided by itself;
- a coefficient that leaves the numbers whose squares float32 can hold;
- zero times what may be infinite;
- one sum of gradients, computed along two ways that round differently;
- private data that may be NaN as it is released.

It also says which values may be NaN or infinite, because tests for these, and comparisons, then go either way.

Guarantee: where nothing was reported, the float32 value of every expression is its real value times ``1 + e``, or within
that of the sum of its terms' magnitudes, with ``e`` of a few tens of units in the last place times ``SHRINKS`` at most; and it
is NaN or infinite only where :meth:`FloatWatch.may_be_nan` and :meth:`FloatWatch.may_be_infinite` say so. Derived here.
Assumptions: gradients, Gaussian draws and released numbers are finite; reductions are summed pairwise or in blocks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from .positivity import stays_positive

if TYPE_CHECKING:
    from .expression_store import ExpressionStore

SHRINKS = 64.0
"""By how much a term may shrink against the largest that it was: its error grows as much, to 2^-18 of it."""
OFFSET = 2.0**8
"""By how much a number may exceed the standard deviation of the noise that it is added to: it rounds by 2^-16 of that."""
UNKNOWN_OFFSET = 2.0**16
"""The same for a released number without a range, of which only the factor is known."""
LARGEST = 2.0**60
"""Coefficients between ``1 / LARGEST`` and ``LARGEST`` have squares that float32 holds, with room for what they multiply."""
_CONSTANT = -1
NUMBERS = frozenset(
    {
        "trunc", "argument", "round", "mod", "pow", "unforeseen", "order statistic", "sort", "kthvalue", "median", "nanmedian",
        "topk",
    }
)  # fmt: skip
"""What is not known, but no NaN: integers, what Python raises for, and one of several numbers that are none."""


class FloatWatch:
    """What the table of one analysis simplified in a way that float32 would not follow.

    Attributes:
        active: the candidate's own operations are being followed (and not the analysis of what they gave).
        found: what was simplified, with the line.
    """

    def __init__(self, table: "ExpressionStore") -> None:
        self.table = table
        self.active = False
        self.found: dict[str, int | None] = {}
        self.heights: dict[int, dict[int, float]] = {}
        """Of a sum: the largest magnitude that each of its terms had on the way, where that is more than what is left."""
        self._ways: dict[int, object] = {}
        self._nan: dict[tuple[int, bool], bool] = {}
        self._overflow: dict[int, bool] = {}

    def depart(self, what: str) -> None:
        """Note a simplification that float32 does not follow."""
        self.found.setdefault(what, self.table.line)

    # ---- what is simplified -----------------------------------------------------------------------------------

    def summed(self, parts: Sequence[int], result: int) -> None:
        """A sum was built in which terms met with opposite signs."""
        table = self.table
        if all(table.value(part) is not None for part in parts):
            return
        heights: dict[int, float] = {}
        for part in parts:
            for term, size in self._heights_of(part).items():
                heights[term] = heights.get(term, 0.0) + size
        left = self._sizes(result)
        noise = max((k for t, k in left.items() if t != _CONSTANT and table.kind(t) == "z"), default=0.0)
        for term, size in heights.items():
            if size > SHRINKS * left.get(term, 0.0) and not self._reach(term) * size <= OFFSET * noise:
                self.depart("a term cancels in a sum, or nearly, where float32 keeps its rounding error")
                return
        self._raise_heights(result, heights, left)

    def scaled(self, x: int, by: float, result: int) -> None:
        """``x`` was multiplied by a known number."""
        table = self.table
        if table.is_known(x):
            return
        if by == 0:
            if table.is_private(x) and (self.may_be_infinite(x) or self.may_be_nan(x)):
                self.depart("zero times a private value that may be infinite is NaN in float32")
            return
        if not all(1 / LARGEST <= abs(k) <= LARGEST for _, k in table.linear(result)[1]):
            self.depart("a factor is so large or so small that float32 cannot hold what it multiplies, or its square")
        if x in self.heights:
            grown = {term: size * abs(by) for term, size in self.heights[x].items()}
            self._raise_heights(result, grown, self._sizes(result))
        if self.rounds_to_many(result) and math.frexp(by)[0] not in {0.5, -0.5}:
            self.along(result, ("scaled", x, by))

    def cancelled(self, factor: int) -> None:
        """A factor met its own inverse."""
        table = self.table
        if table.is_known(factor):
            return
        low, high = table.range(factor)
        if table.is_private(factor) or table.has_noise(factor) or not 1 / LARGEST <= low <= high <= LARGEST:
            self.depart(
                "a value is divided by itself: NaN where it is zero or infinite, and not 1 where it is too small"
            )

    def released(self, constant: float, public: Mapping[int, float], noise: Mapping[int, float]) -> None:
        """Private data, noise and what is public were added, in an order that is not known.

        A public number far larger than the noise would round private data before the noise covers it.
        """
        draw = max((abs(k) for t, k in noise.items() if self.table.kind(t) == "z"), default=math.inf)
        bounded = [abs(constant), *(abs(k) * self._reach(t) for t, k in public.items() if self._is_bounded(t))]
        unbounded = [abs(k) for t, k in public.items() if not self._is_bounded(t)]
        if max(bounded) > OFFSET * draw or max(unbounded, default=0.0) > UNKNOWN_OFFSET * draw:
            self.depart("a public number far larger than the noise is added to private data, which it then rounds")

    def shown(self, private: Iterable[int]) -> None:
        """Private values are released: one NaN among them would make the whole update NaN, whatever the noise is.

        That private values which are divided by do not vanish, and that what grows as sums and products of gradients do does not
        overflow, are assumptions that the result states.
        """
        for term in private:
            if self.may_be_nan(term, divided=True):
                self.depart("a private value is released that is NaN for some finite gradients, which no noise covers")
            elif len(self._unbounded(term)) > 1:
                self.table.overflowing.add(self.table.line)

    def constants_agree(self, known: Sequence[tuple[float, float]]) -> None:
        """Known numbers of the analysis beside those that were computed: ``(analysed, computed)``."""
        for analysed, computed in known:
            if not (analysed == computed or abs(analysed - computed) <= 1e-5 * abs(analysed)):
                self.depart("a known number is computed in float32 with an error of more than 1e-5 of it")

    def along(self, result: int, way: object) -> None:
        """A sum of gradients of either sign was computed; another way of computing it would round to another number."""
        if self._ways.setdefault(result, way) != way:
            self.depart("one sum of private values is computed in two ways, which float32 rounds to two numbers")

    def rounds_to_many(self, x: int) -> bool:
        """Whether ``x`` is one sample's unbounded sum of terms of either sign, so that a rounding error has no bound."""
        table = self.table
        touch = table.touch[x]
        if not touch or touch & (touch - 1) or table.kind(x) != "lin":
            return False
        low, high = table.range(x)
        return low < 0 and high > 0 and math.isinf(high - low)

    def rounds(self, x: int) -> bool:
        """Whether ``x`` is computed, so that two computations of it need not agree in every bit."""
        return self.table.kind(x) in {"lin", "mul", "fun"}

    def _is_bounded(self, term: int) -> bool:
        return not math.isinf(self._reach(term))

    def _reach(self, term: int) -> float:
        return 1.0 if term == _CONSTANT else max(map(abs, self.table.range(term)))

    def _sizes(self, x: int) -> dict[int, float]:
        constant, terms = self.table.linear(x)
        sizes = {term: abs(k) for term, k in terms}
        if constant:
            sizes[_CONSTANT] = abs(constant)
        return sizes

    def _heights_of(self, x: int) -> dict[int, float]:
        return {**self._sizes(x), **self.heights.get(x, {})}

    def _raise_heights(self, x: int, heights: dict[int, float], left: dict[int, float]) -> None:
        higher = {term: size for term, size in heights.items() if size > left.get(term, 0.0) * (1 + 1e-9)}
        if higher and not self.table.is_known(x):
            known = self.heights.setdefault(x, {})
            for term, size in higher.items():
                known[term] = max(known.get(term, 0.0), size)

    # ---- what may be no number --------------------------------------------------------------------------------

    def may_be_infinite(self, x: int) -> bool:
        """Whether a float32 value of ``x`` may be infinite though gradients, draws and released numbers are finite."""
        if self.table.kind(x) in {"g", "z", "c", "p", "h", "r"}:
            return False
        return any(math.isinf(end) for end in self.table.range(x))

    def _unbounded(self, x: int) -> list[int]:
        """What private numbers without a bound are multiplied in ``x``, each as often as it is."""
        table = self.table
        found = []
        for factor, exponent in table.factors(x)[1]:
            if exponent > 0 and table.is_private(factor) and math.isinf(max(map(abs, table.range(factor)))):
                found += [factor] * math.ceil(exponent)
        return found

    def may_overflow(self, x: int) -> bool:
        """Whether ``x`` may be infinite for gradients of ordinary size, otherwise than by a division by what vanishes."""
        found = self._overflow.get(x)
        if found is None:
            found = self._overflow[x] = self._may_overflow(x)
        return found

    def _may_overflow(self, x: int) -> bool:
        table = self.table
        if not self.may_be_infinite(x):
            return False
        match table.nodes[x]:
            case ("opaque", name, *_):
                return name not in NUMBERS
            case ("fun", "exp" | "expm1", _):
                return True
            case ("mul", _):
                return any(e > 0 and self.may_overflow(f) for f, e in table.factors(x)[1])
            case _:
                return any(map(self.may_overflow, table.children(x)))

    def may_be_nan(self, x: int, divided: bool = False) -> bool:
        """Whether a float32 value of ``x`` may be NaN.

        Args:
            divided: take what is divided by not to vanish, and gradients to be of ordinary size.
        """
        key = (x, divided)
        found = self._nan.get(key)
        if found is None:
            found = self._nan[key] = self._may_be_nan(x, divided)
        return found

    def _may_be_nan(self, x: int, divided: bool) -> bool:
        table = self.table
        node = table.nodes[x]
        match node[0]:
            case "c" | "g" | "r" | "z" | "p" | "h" | "lt" | "le" | "eq" | "not" | "and" | "or":
                return False
            case "opaque":
                return not (divided and node[1] in NUMBERS)
            case "lin":
                return self._sum_may_be_nan(x, divided)
            case "mul":
                return self._product_may_be_nan(x, divided)
            case "fun":
                argument = int(node[2])  # type: ignore[call-overload]
                low, _ = table.range(argument)
                outside = (node[1] in {"log", "log1p"} and low < -float(node[1] == "log1p")) or (
                    node[1] in {"sin", "cos"} and self.may_be_infinite(argument)
                )
                return outside or self.may_be_nan(argument, divided)
            case "where":
                return any(self.may_be_nan(c, divided) for c in table.children(x)[1:])
            case _:
                return any(self.may_be_nan(c, divided) for c in table.children(x))

    def _sum_may_be_nan(self, x: int, divided: bool) -> bool:
        _, terms = self.table.linear(x)
        if any(self.may_be_nan(t, divided) for t, _ in terms):
            return True
        is_infinite = self.may_overflow if divided else self.may_be_infinite
        infinite = [(t, k) for t, k in terms if is_infinite(t)]
        if len(infinite) < 2:
            return False
        signs = {k > 0 for t, k in infinite if self.table.is_nonnegative(t)}
        return len(signs) != 1 or not all(self.table.is_nonnegative(t) for t, _ in infinite)

    def _product_may_be_nan(self, x: int, divided: bool) -> bool:
        table = self.table
        factors = table.factors(x)[1]
        for factor, exponent in factors:
            if self.may_be_nan(factor, divided) or (exponent != int(exponent) and table.range(factor)[0] < 0):
                return True
        is_infinite = self.may_overflow if divided else self.may_be_infinite
        infinite = {f for f, e in factors if e > 0 and is_infinite(f)}
        zero = {f for f, e in factors if e < 0 and is_infinite(f)}
        large = [] if divided else self._unbounded(x)
        if divided and not infinite:
            return False
        for factor, exponent in factors:
            if self._vanishes(factor) and not (divided and exponent < 0):
                (zero if exponent > 0 else infinite).add(factor)
        if len(large) > 1 and (len(set(large)) > 2 or zero - set(large)):
            return True  # A product of large numbers overflows where a small one is 0.
        return any(a != b for a in infinite for b in zero)

    def _vanishes(self, x: int) -> bool:
        low, high = self.table.range(x)
        return low <= 0 <= high and not (self.table.is_private(x) and stays_positive(self.table, x))
