"""Comparisons, conditions, and choices between expressions: what is decided by ranges is decided here."""

from collections.abc import Iterable

from .expression_store import BOOLEAN, ExpressionStore
from .intervals import evaluate_function, surely_at_most, surely_less


class Choices(ExpressionStore):
    """Extremes, functions of one argument, comparisons, junctions and ``where``, in a canonical form."""

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
        if (self.value(a), self.value(b)) == (1.0, 0.0) and self.nodes[condition][0] in BOOLEAN:
            return condition
        return self._build(("where", condition, a, b), (condition, a, b))
