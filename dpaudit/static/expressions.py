"""Hash-consed scalar expressions over gradients, Gaussian draws and public unknowns.

Notation: an expression is an ``int`` id into one :class:`Table`; equal ids are equal expressions. Atoms:

- ``g(i, b, c)``  coordinate ``c`` of block ``b`` of sample ``i`` (private),
- ``r(i)``        1 if row ``i`` is in the batch (private under add/remove),
- ``z(k)``        one standard normal draw,
- ``p(name)``     a public value that is not known in advance: a released number, or a coin,
- ``h``           an element that a private boolean mask may have left out.

Linear combinations (``lin``) and products of powers (``mul``) are kept in a canonical form, so that ``x * (1 / x)``
cancels and a sum is the same whatever order it was written in.

The laws that are used hold for real numbers; a rounding allowance is added once, to the final bound. ``x / x = 1`` is
used for every ``x``: where ``x = 0`` the candidate computes NaN. See ``docs/static.md`` for that assumption.
"""

import math
from collections.abc import Iterable, Sequence

from .floating import FloatWatch
from .intervals import (
    EVERYTHING,
    Interval,
    evaluate_function,
    power_of,
    surely_at_most,
    surely_less,
)
from .positivity import stays_positive
from .ranges import range_of

Node = tuple[object, ...]

_HAS_NOISE, _HAS_PUBLIC, _HAS_HOLE, _HAS_ROW, _HAS_CONDITION = 1, 2, 4, 8, 16


class Table:
    """All expressions of one analysis. Ids are never shared between analyses."""

    def __init__(self, *, more_rows: bool = False, longer_axes: bool = False) -> None:
        """Args:
        more_rows, longer_axes: the expressions are those of fewer rows, or shorter axes, than there really are. Sums and
            products then stand for longer ones, and their ranges allow for that.
        """
        self.more_rows, self.longer_axes = more_rows, longer_axes
        self.nodes: list[Node] = []
        self.touch: list[int] = []
        """Bit ``i`` is set where the expression depends on sample ``i``."""
        self.flags: list[int] = []
        self.lines: list[int | None] = []
        self.line: int | None = None
        """Line in the candidate's source that is being executed; stamped on every new node."""
        self.public_range: dict[object, Interval] = {}
        self.divided_by_vanishing: set[int | None] = set()
        self.floats = FloatWatch(self)
        self._index: dict[Node, int] = {}
        self._ranges: dict[int, Interval] = {}
        self._constants: dict[float, int] = {}
        self._powers: dict[tuple[int, float], int] = {}
        self.zero = self.constant(0.0)
        self.one = self.constant(1.0)
        self.hole = self._intern(("h",), 0, _HAS_HOLE)

    def _intern(self, node: Node, touch: int, flags: int) -> int:
        found = self._index.get(node)
        if found is not None:
            return found
        new = len(self.nodes)
        self._index[node] = new
        self.nodes.append(node)
        self.touch.append(touch)
        self.flags.append(flags)
        self.lines.append(self.line)
        return new

    def _build(self, node: Node, children: Iterable[int]) -> int:
        found = self._index.get(node)
        if found is not None:
            return found
        touch = flags = 0
        for child in children:
            touch |= self.touch[child]
            flags |= self.flags[child]
        if node[0] in _COMPARISONS:
            flags |= _HAS_CONDITION
        return self._intern(node, touch, flags)

    # ---- atoms ------------------------------------------------------------------------------------------------

    def constant(self, value: float) -> int:
        """A public number that is known.

        Raises:
            ArithmeticError: it is NaN, which nothing could be proved about.
        """
        value = float(value) + 0.0
        found = self._constants.get(value)
        if found is None:
            if math.isnan(value):
                raise ArithmeticError("a public value is NaN")
            found = self._constants[value] = self._intern(("c", value), 0, 0)
        return found

    def gradient(self, sample: int, block: int, coordinate: int) -> int:
        return self._intern(("g", sample, block, coordinate), 1 << sample, 0)

    def presence(self, sample: int) -> int:
        return self._intern(("r", sample), 1 << sample, _HAS_ROW)

    def noise(self, draw: int) -> int:
        return self._intern(("z", draw), 0, _HAS_NOISE)

    def public(self, name: object, within: Interval = EVERYTHING) -> int:
        """A public unknown. Asked for again with a wider range, the range widens."""
        known = self.public_range.get(name)
        if known is not None:
            within = (min(known[0], within[0]), max(known[1], within[1]))
        if known != within:
            self.public_range[name] = within
            self._ranges.clear()
        return self._intern(("p", name), 0, _HAS_PUBLIC)

    # ---- queries ----------------------------------------------------------------------------------------------

    def kind(self, x: int) -> object:
        return self.nodes[x][0]

    def value(self, x: int) -> float | None:
        """The number, if ``x`` is a known constant."""
        node = self.nodes[x]
        return node[1] if node[0] == "c" else None  # type: ignore[return-value]

    def is_known(self, x: int) -> bool:
        return self.touch[x] == 0 and self.flags[x] & ~_HAS_CONDITION == 0

    def has_noise(self, x: int) -> bool:
        return bool(self.flags[x] & _HAS_NOISE)

    def has_hole(self, x: int) -> bool:
        return bool(self.flags[x] & _HAS_HOLE)

    def has_row(self, x: int) -> bool:
        return bool(self.flags[x] & _HAS_ROW)

    def has_condition(self, x: int) -> bool:
        return bool(self.flags[x] & _HAS_CONDITION)

    def is_private(self, x: int) -> bool:
        return self.touch[x] != 0

    def linear(self, x: int) -> tuple[float, tuple[tuple[int, float], ...]]:
        """``(constant, ((term, coefficient), ...))``."""
        node = self.nodes[x]
        if node[0] == "lin":
            return node[1], node[2]  # type: ignore[return-value]
        if node[0] == "c":
            return node[1], ()  # type: ignore[return-value]
        return 0.0, ((x, 1.0),)

    def factors(self, x: int) -> tuple[float, tuple[tuple[int, float], ...]]:
        """``(coefficient, ((factor, exponent), ...))``."""
        node = self.nodes[x]
        if node[0] == "mul":
            return 1.0, node[1]  # type: ignore[return-value]
        if node[0] == "c":
            return node[1], ()  # type: ignore[return-value]
        if node[0] == "lin":
            constant, terms = self.linear(x)
            if constant == 0 and len(terms) == 1:
                inner, coefficient = terms[0]
                return coefficient, self.factors(inner)[1]
        return 1.0, ((x, 1.0),)

    def children(self, x: int) -> tuple[int, ...]:
        node = self.nodes[x]
        match node[0]:
            case "c" | "g" | "r" | "z" | "p" | "h" | "opaque":
                return ()
            case "lin":
                return tuple(t for t, _ in node[2])  # type: ignore[attr-defined]
            case "mul":
                return tuple(f for f, _ in node[1])  # type: ignore[attr-defined]
            case "fun":
                return (node[2],)  # type: ignore[return-value]
            case _:
                return node[1:]  # type: ignore[return-value]

    def range(self, x: int) -> Interval:
        """An interval that holds for every input."""
        found = self._ranges.get(x)
        if found is None:
            found = self._ranges[x] = range_of(self, x)
        return found

    def is_nonnegative(self, x: int) -> bool:
        return self.range(x)[0] >= 0

    # ---- linear combinations ----------------------------------------------------------------------------------

    def combine(self, constant: float, terms: dict[int, float]) -> int:
        """Canonical ``constant + sum coefficient * term``; terms must not be constants or combinations."""
        kept = [(t, k) for t, k in terms.items() if k != 0]
        constant = constant + 0.0
        if not kept:
            return self.constant(constant)
        if constant == 0 and len(kept) == 1 and kept[0][1] == 1:
            return kept[0][0]
        kept.sort()
        return self._build(("lin", constant, tuple(kept)), (t for t, _ in kept))

    def add(self, parts: Sequence[int]) -> int:
        """Sum. Where rows of different samples meet, what is public in a row's term is tied to that row's presence.

        Without that, ``sum_i (bit_i - 1/2)`` would read as private bits minus a public number, though the number of
        halves that are subtracted is the private number of rows.
        """
        if len(parts) == 1:
            return parts[0]
        together = 0
        touches = self.touch
        for part in parts:
            together |= touches[part]
        several = together & (together - 1) != 0
        if several:
            parts = [self._tie_to_row(x) if touches[x] and touches[x] & (touches[x] - 1) == 0 else x for x in parts]
        constant = 0.0
        terms: dict[int, float] = {}
        opposed = False
        for part in parts:
            own, inner = self.linear(part)
            opposed = opposed or constant * own < 0
            constant += own
            for term, coefficient in inner:
                before = terms.get(term, 0.0)
                opposed = opposed or before * coefficient < 0
                terms[term] = before + coefficient
        result = self.combine(constant, terms)
        if self.floats.active:
            if opposed or self.floats.heights:
                self.floats.summed(parts, result)
            if self.floats.rounds_to_many(result):
                self.floats.along(result, frozenset(parts))
        return result

    def _tie_to_row(self, part: int) -> int:
        node = self.nodes[part]
        if node[0] != "lin" or self.has_noise(part):
            return part
        constant, terms = self.linear(part)
        if constant == 0 and all(self.touch[t] for t, _ in terms):
            return part
        row = self.presence(self.touch[part].bit_length() - 1)
        tied: dict[int, float] = {}
        if constant:
            tied[row] = constant
        for term, coefficient in terms:
            term = term if self.touch[term] else self.multiply([term, row])
            tied[term] = tied.get(term, 0.0) + coefficient
        return self.combine(0.0, tied)

    def scale(self, x: int, by: float) -> int:
        if by == 1:
            return x
        constant, terms = self.linear(x)
        result = self.combine(constant * by if constant else 0.0, {t: k * by for t, k in terms})
        if self.floats.active:
            self.floats.scaled(x, by, result)
        return result

    def subtract(self, a: int, b: int) -> int:
        return self.add([a, self.scale(b, -1.0)])

    # ---- products of powers -----------------------------------------------------------------------------------

    def multiply(self, parts: Sequence[int]) -> int:
        coefficient = 1.0
        powers: dict[int, float] = {}
        for part in parts:
            scale, factors = self.factors(part)
            coefficient *= scale
            for factor, exponent in factors:
                before = powers.get(factor, 0.0)
                if before * exponent < 0 and self.floats.active:
                    self.floats.cancelled(factor)
                powers[factor] = before + exponent
        if coefficient == 0:
            return self.zero
        return self.scale(self.monomial(powers), coefficient)

    def monomial(self, powers: dict[int, float]) -> int:
        """Canonical product of powers; presence bits are idempotent and vanish beside their own row's gradients."""
        kept = [(f, e) for f, e in powers.items() if e != 0]
        if any(self.nodes[f][0] == "r" for f, _ in kept):
            kept = self._absorb_presence(kept)
        if not kept:
            return self.one
        if len(kept) == 1 and kept[0][1] == 1:
            return kept[0][0]
        if len(kept) == 1 and kept[0][1] > 0 and self.nodes[kept[0][0]][0] in _BOOLEAN:
            return kept[0][0]
        kept.sort()
        return self._build(("mul", tuple(kept)), (f for f, _ in kept))

    def _absorb_presence(self, kept: list[tuple[int, float]]) -> list[tuple[int, float]]:
        rows = {f for f, _ in kept if self.nodes[f][0] == "r"}
        others = [(f, e) for f, e in kept if f not in rows]
        seen = 0
        for factor, _ in others:
            seen |= self.touch[factor]
        return others + [(row, 1.0) for row in rows if not self.touch[row] & seen]

    def power(self, x: int, exponent: float) -> int:
        """``x ** exponent`` for real ``x``; fractional powers suppose ``x >= 0`` (torch gives NaN below 0)."""
        key = (x, exponent)
        found = self._powers.get(key)
        if found is None:
            found = self._powers[key] = self._power(x, exponent)
        return found

    def _power(self, x: int, exponent: float) -> int:
        if exponent == 0:
            return self.one
        coefficient, factors = self.factors(x)
        if not factors:
            return self.constant(power_of(coefficient, exponent) if coefficient >= 0 else coefficient**exponent)
        vanishes = exponent < 0 and self.is_private(x) and self.range(x)[0] <= 0 <= self.range(x)[1]
        if vanishes and not stays_positive(self, x):
            self.divided_by_vanishing.add(self.line)
        whole = exponent == int(exponent)
        powers: dict[int, float] = {}
        if coefficient < 0 and not whole:
            return self.monomial({x: exponent})
        for factor, e in factors:
            if not whole and not self.is_nonnegative(factor):
                if e % 2 != 0:
                    return self._opaque_power(coefficient, factors, exponent)
                factor = self.absolute(factor)
            powers[factor] = powers.get(factor, 0.0) + e * exponent
        scale = power_of(coefficient, exponent) if coefficient > 0 else coefficient**exponent
        return self.scale(self.monomial(powers), scale)

    def _opaque_power(self, coefficient: float, factors: tuple[tuple[int, float], ...], exponent: float) -> int:
        base = self.monomial(dict(factors))
        return self.scale(self.monomial({base: exponent}), power_of(coefficient, exponent))

    # ---- everything else --------------------------------------------------------------------------------------

    def extreme(self, which: str, parts: Iterable[int]) -> int:
        """n-ary ``min`` or ``max``."""
        flat: set[int] = set()
        for part in parts:
            flat.update(self.children(part) if self.nodes[part][0] == which else (part,))
        pick = min if which == "min" else max
        known = [v for v in (self.value(p) for p in flat) if v is not None]
        if len(known) > 1:
            flat = {p for p in flat if self.value(p) is None} | {self.constant(pick(known))}
        flat = {p for p in flat if not self._is_dominated(which, p, flat)}
        if len(flat) == 1:
            return flat.pop()
        arguments = tuple(sorted(flat))
        return self._build((which, *arguments), arguments)

    def _is_dominated(self, which: str, part: int, among: set[int]) -> bool:
        low, high = self.range(part)
        for other in among:
            if other == part:
                continue
            other_low, other_high = self.range(other)
            if which == "min" and (other_high < low or (other_high == low and self.value(other) is not None)):
                return True
            if which == "max" and (other_low > high or (other_low == high and self.value(other) is not None)):
                return True
        return False

    def absolute(self, x: int) -> int:
        coefficient, factors = self.factors(x)
        if not factors:
            return self.constant(abs(coefficient))
        if self.is_nonnegative(x):
            return x
        if coefficient != 1:
            return self.scale(self.absolute(self.monomial(dict(factors))), abs(coefficient))
        if len(factors) > 1 and all(e == int(e) for _, e in factors):
            return (
                self.monomial({self.absolute(f): e for f, e in factors})
                if self._distinct_abs(factors)
                else self.multiply([self.power(self.absolute(f), e) for f, e in factors])
            )
        return self._build(("abs", x), (x,))

    def _distinct_abs(self, factors: tuple[tuple[int, float], ...]) -> bool:
        return len({self.absolute(f) for f, _ in factors}) == len(factors) and all(
            self.factors(self.absolute(f))[0] == 1 and len(self.factors(self.absolute(f))[1]) == 1 for f, _ in factors
        )

    def function(self, name: str, x: int) -> int:
        value = self.value(x)
        if value is not None:
            return self.constant(evaluate_function(name, value))
        return self._build(("fun", name, x), (x,))

    def compare(self, op: str, a: int, b: int) -> int:
        """``lt``, ``le`` or ``eq`` as a number 0 or 1; decided where the ranges decide it."""
        if self.floats.active and (self.touch[a] | self.touch[b]):
            twice = a == b and self.floats.rounds(a)
            if twice or self.floats.may_be_nan(a) or self.floats.may_be_nan(b):
                return self.unforeseen(op, a, b)
        if a == b:
            return self.zero if op == "lt" else self.one
        (a_low, a_high), (b_low, b_high) = self.range(a), self.range(b)
        if op == "lt" and (surely_less(a_high, b_low) or surely_at_most(b_high, a_low)):
            return self.one if a_high < b_low else self.zero
        if op == "le" and (surely_at_most(a_high, b_low) or surely_less(b_high, a_low)):
            return self.one if a_high <= b_low else self.zero
        if op == "eq":
            if surely_less(a_high, b_low) or surely_less(b_high, a_low):
                return self.zero
            if a_low == a_high == b_low == b_high:
                return self.one
            a, b = min(a, b), max(a, b)
        return self._build((op, a, b), (a, b))

    def unforeseen(self, test: str, *operands: int) -> int:
        """A boolean that may go either way: a comparison or test of what may be NaN or infinite."""
        touch = flags = 0
        for x in operands:
            touch |= self.touch[x]
            flags |= self.flags[x]
        outcome = self._intern(("opaque", "unforeseen", (test, *operands)), touch, flags)
        return self._build(("lt", outcome, self.zero), (outcome,))

    def negate(self, x: int) -> int:
        value = self.value(x)
        if value is not None:
            return self.constant(0.0 if value else 1.0)
        node = self.nodes[x]
        if node[0] == "not":
            return node[1]  # type: ignore[return-value]
        if node[0] == "lt":
            return self.compare("le", node[2], node[1])  # type: ignore[arg-type]
        if node[0] == "le":
            return self.compare("lt", node[2], node[1])  # type: ignore[arg-type]
        return self._build(("not", x), (x,))

    def junction(self, op: str, parts: Iterable[int]) -> int:
        """``and`` / ``or`` of booleans."""
        absorbing, neutral = (0.0, 1.0) if op == "and" else (1.0, 0.0)
        flat: set[int] = set()
        for part in parts:
            flat.update(self.children(part) if self.nodes[part][0] == op else (part,))
        values = {self.value(p) for p in flat}
        if absorbing in values:
            return self.constant(absorbing)
        flat = {p for p in flat if self.value(p) != neutral}
        if not flat:
            return self.constant(neutral)
        if len(flat) == 1:
            return flat.pop()
        arguments = tuple(sorted(flat))
        return self._build((op, *arguments), arguments)

    def where(self, condition: int, a: int, b: int) -> int:
        value = self.value(condition)
        if value is not None:
            return a if value else b
        if a == b:
            return a
        if self.nodes[condition][0] == "not":
            return self.where(self.nodes[condition][1], b, a)  # type: ignore[arg-type]
        if (self.value(a), self.value(b)) == (1.0, 0.0) and self.nodes[condition][0] in _BOOLEAN:
            return condition
        return self._build(("where", condition, a, b), (condition, a, b))


_COMPARISONS = frozenset({"lt", "le", "eq"})
_BOOLEAN = frozenset({"r", "lt", "le", "eq", "not", "and", "or"})
