"""Hash-consed scalar expressions over gradients, Gaussian draws and public unknowns.

Notation: an expression is an ``int`` id into one :class:`Table`; equal ids are equal expressions. Atoms:

- ``g(i, b, c)``  coordinate ``c`` of block ``b`` of sample ``i`` (private),
- ``r(i)``        1 if row ``i`` is in the batch (private under add/remove),
- ``z(k)``        one standard normal draw,
- ``p(name)``     a public value that is not known in advance: a released number, or a coin,
- ``h``           an element that a private boolean mask may have left out.

Linear combinations (``lin``) and products of powers (``mul``) are kept in a canonical form, so that ``x * (1 / x)``
cancels and a sum is the same whatever order it was written in.

The laws that are used hold for real numbers; where float32 would not follow, :mod:`.floating` is told. Comparisons and choices
are in :mod:`.choices`.
"""

from collections.abc import Sequence

from .choices import Choices
from .expression_store import BOOLEAN
from .intervals import power_of
from .positivity import stays_positive


class Table(Choices):
    """All expressions of one analysis. Ids are never shared between analyses."""

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
        if len(kept) == 1 and kept[0][1] > 0 and self.nodes[kept[0][0]][0] in BOOLEAN:
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
