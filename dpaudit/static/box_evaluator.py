"""Intervals of expressions on a box of norm variables, with monomials pushed inside. :mod:`.bounds` says what for."""

import math
from collections.abc import Mapping

from .expressions import Table
from .intervals import (
    EVERYTHING,
    VANISHING,
    Interval,
    absolute_interval,
    flushed,
    function_interval,
    interval_power,
    interval_product,
    rounded_sum,
    surely_at_most,
    surely_less,
)

Powers = tuple[tuple[int, float], ...]
"""Exponents of variables, sorted by variable: the monomial that is being pushed inside."""


class BoxEvaluator:
    """Interval values of expressions on one box of variables.

    Args:
        norms: for every expression that is a sum of squares, the variables it is made of:
            ``{expression: (rest, {variable: coefficient})}`` with ``rest`` an expression.
        publics: expressions of public unknowns that are variables too (they have a non-negative range).
        box: range of every variable.
    """

    def __init__(
        self,
        table: Table,
        norms: Mapping[int, tuple[int, dict[int, float]]],
        publics: Mapping[int, int],
        box: Mapping[int, Interval],
    ) -> None:
        self.table = table
        self.norms = norms
        self.publics = publics
        self.box = box
        self._memo: dict[tuple[int, Powers], Interval] = {}
        self._open: dict[int, bool] = {}
        self._careful = table.more_rows or table.longer_axes

    def of(self, x: int, powers: Powers = ()) -> Interval:
        """Interval of ``monomial * x``."""
        key = (x, powers)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self._tighten(x, powers, self._of(x, powers))
        return found

    def _tighten(self, x: int, powers: Powers, value: Interval) -> Interval:
        if powers:
            return value
        if self.table.kind(x) in {"mul", "fun"}:
            value = flushed(value)
        low, high = self.table.range(x)
        return max(low, value[0]), min(high, value[1])

    def monomial(self, powers: Powers) -> Interval:
        result: Interval = (1.0, 1.0)
        for variable, exponent in powers:
            result = interval_product(result, interval_power(self.box[variable], exponent))
        return result

    def _of(self, x: int, powers: Powers) -> Interval:
        node = self.table.nodes[x]
        if x in self.norms or x in self.publics:
            return self._product({x: 1.0}, powers)
        match node[0]:
            case "c":
                value = float(node[1])  # type: ignore[arg-type]
                return interval_product((value, value), self.monomial(powers))
            case "lin":
                return self._sum(x, powers)
            case "mul":
                return self._product(dict(node[1]), powers)  # type: ignore[call-overload]
            case "min" | "max":
                pick = min if node[0] == "min" else max
                ends = [self.of(c, powers) for c in self.table.children(x)]
                return pick(e[0] for e in ends), pick(e[1] for e in ends)
            case "where":
                return self._where(x, powers)
            case "abs":
                return absolute_interval(self.of(node[1], powers))  # type: ignore[arg-type]
            case "fun":
                return self._function(str(node[1]), node[2], powers)  # type: ignore[arg-type]
            case "lt" | "le" | "eq" | "not" | "and" | "or":
                return interval_product(self._boolean(x), self.monomial(powers))
            case _:
                return interval_product(self.table.range(x), self.monomial(powers))

    def _sum(self, x: int, powers: Powers) -> Interval:
        constant, terms = self.table.linear(x)
        if self._careful:
            closed = {t: k for t, k in terms if self.table.touch[t] and not self._has_variables(t)}
            if len(closed) > 1:
                # Their number may be larger at the real shape: the table's range of their sum allows for it.
                rest = self.table.combine(0.0, {t: k for t, k in terms if t not in closed})
                sum_of = self.table.range(self.table.combine(constant, closed))
                return rounded_sum([interval_product(sum_of, self.monomial(powers)), self.of(rest, powers)])
        parts = [interval_product((constant, constant), self.monomial(powers))] if constant else []
        parts += [interval_product((k, k), self.of(t, powers)) for t, k in terms]
        return rounded_sum(parts)

    def _has_variables(self, x: int) -> bool:
        """Whether a variable of the box occurs in ``x``."""
        found = self._open.get(x)
        if found is None:
            found = x in self.norms or x in self.publics or any(map(self._has_variables, self.table.children(x)))
            self._open[x] = found
        return found

    def _product(self, factors: Mapping[int, float], powers: Powers) -> Interval:
        if self._careful:
            closed = {f: e for f, e in factors.items() if self.table.touch[f] and not self._has_variables(f)}
            if len(closed) > 1:
                others = {f: e for f, e in factors.items() if f not in closed}
                return interval_product(self.table.range(self.table.monomial(closed)), self._product(others, powers))
        merged = dict(powers)
        rest: list[tuple[int, float]] = []
        for factor, exponent in factors.items():
            variable, scale = self._as_variable(factor)
            if variable is None:
                rest.append((factor, exponent))
            else:
                merged[variable] = merged.get(variable, 0.0) + exponent
                rest.extend([(self.table.constant(scale), exponent)] if scale != 1 else [])
        joint = tuple(sorted((v, e) for v, e in merged.items() if e != 0))
        if not rest:
            return self.monomial(joint)
        best = EVERYTHING
        plain = [self._raise(f, e, ()) for f, e in rest]
        for chosen, (factor, exponent) in enumerate(rest):
            result = self._raise(factor, exponent, joint)
            for other, value in enumerate(plain):
                if other != chosen:
                    result = interval_product(result, value)
            best = max(best[0], result[0]), min(best[1], result[1])
            if not joint:
                break
        return best

    def _as_variable(self, factor: int) -> tuple[int | None, float]:
        """The variable that ``factor`` is a multiple of, if it is one."""
        if factor in self.publics:
            return self.publics[factor], 1.0
        if factor in self.norms:
            rest, parts = self.norms[factor]
            if rest == self.table.zero and len(parts) == 1:
                ((variable, scale),) = parts.items()
                return variable, scale
        return None, 1.0

    def _raise(self, factor: int, exponent: float, powers: Powers) -> Interval:
        """``monomial * factor ** exponent`` as ``(monomial ** (1 / exponent) * factor) ** exponent``."""
        inner = tuple((v, e / exponent) for v, e in powers)
        if factor in self.norms:
            return interval_power(self._norm(factor, inner), exponent)
        if exponent == 1:
            return self.of(factor, powers)
        low, high = self.of(factor, inner)
        low_known, _ = self.table.range(factor)
        return interval_power((max(low, 0.0) if low_known >= 0 else low, high), exponent)

    def _norm(self, x: int, powers: Powers) -> Interval:
        rest, parts = self.norms[x]
        ends = [self.of(rest, powers)] if rest != self.table.zero else []
        signed = bool(ends) and ends[0][0] < 0
        for variable, coefficient in parts.items():
            merged = dict(powers)
            merged[variable] = merged.get(variable, 0.0) + 1.0
            square = self.monomial(tuple(sorted((v, e) for v, e in merged.items() if e != 0)))
            ends.append(interval_product((coefficient, coefficient), square))
        if signed:
            return rounded_sum(ends)
        low, high = sum(e[0] for e in ends), sum(e[1] for e in ends)
        return max(low, 0.0), high

    def _where(self, x: int, powers: Powers) -> Interval:
        condition, a, b = self.table.children(x)
        low, high = self._boolean(condition)
        if low > 0:
            return self.of(a, powers)
        if high < 1:
            return self.of(b, powers)
        left, right = self._under(condition, True).of(a, powers), self._under(condition, False).of(b, powers)
        return min(left[0], right[0]), max(left[1], right[1])

    def _under(self, condition: int, holds: bool) -> "BoxEvaluator":
        """This evaluator on the part of the box where ``condition`` holds (or does not), as far as a box can say it."""
        table = self.table
        kind = table.nodes[condition][0]
        if kind not in {"lt", "le"} and not (kind == "eq" and holds):
            return self
        a, b = table.children(condition)
        small, large = (a, b) if holds else (b, a)
        box = dict(self.box)
        sides = [(small, large, True), (large, small, False)]
        for side, other, is_small in sides + ([(large, small, True), (small, large, False)] if kind == "eq" else []):
            known = self._solve(side, self.of(other), is_small)
            if known is not None:
                variable, (low, high) = known
                now = box[variable]
                shrunk = max(now[0], low), min(now[1], high)
                if shrunk[0] <= shrunk[1]:
                    box[variable] = shrunk
        return self if box == self.box else BoxEvaluator(table, self.norms, self.publics, box)

    def _solve(self, side: int, other: Interval, is_small: bool) -> tuple[int, Interval] | None:
        """From ``side <= other`` (or ``>=``) with ``side = k * variable ** e``: the variable and its new range.

        What float32 takes for 0 may be as large as ``VANISHING``, and what it takes for infinite as small as its inverse.
        """
        coefficient, factors = self.table.factors(side)
        if coefficient <= 0 or len(factors) != 1:
            return None
        (factor, exponent) = factors[0]
        variable, scale = self._as_variable(factor)
        if variable is None or exponent <= 0:
            return None
        limit = max(other[1], VANISHING) if is_small else min(other[0], 1 / VANISHING)
        if is_small:
            return variable, (0.0, interval_power((max(limit / coefficient, 0.0),) * 2, 1 / exponent)[1] / scale)
        return variable, (interval_power((max(limit / coefficient, 0.0),) * 2, 1 / exponent)[0] / scale, math.inf)

    def _boolean(self, x: int) -> Interval:
        node = self.table.nodes[x]
        children = self.table.children(x)
        match node[0]:
            case "c":
                return (1.0, 1.0) if node[1] else (0.0, 0.0)
            case "lt" | "le":
                (a_low, a_high), (b_low, b_high) = self.of(children[0]), self.of(children[1])
                if surely_less(a_high, b_low) or (node[0] == "le" and surely_at_most(a_high, b_low)):
                    return 1.0, 1.0
                if surely_less(b_high, a_low) or (node[0] == "lt" and surely_at_most(b_high, a_low)):
                    return 0.0, 0.0
                return 0.0, 1.0
            case "not":
                low, high = self._boolean(children[0])
                return 1 - high, 1 - low
            case "and" | "or":
                pick = min if node[0] == "and" else max
                ends = [self._boolean(c) for c in children]
                return pick(e[0] for e in ends), pick(e[1] for e in ends)
            case _:
                return 0.0, 1.0

    def _function(self, name: str, argument: int, powers: Powers) -> Interval:
        plain = interval_product(function_interval(name, self.of(argument)), self.monomial(powers))
        if name == "exp" and len(powers) == 1:
            decayed = self._decay(argument, *powers[0])
            return max(plain[0], 0.0), min(plain[1], decayed)
        if name in {"tanh", "erf", "atan"} and powers:
            # |f(x)| <= k |x| on the whole line, with k the slope at 0.
            slope = 2 / math.sqrt(math.pi) if name == "erf" else 1.0
            low, high = self.of(argument, powers)
            reach = slope * max(abs(low), abs(high))
            return max(plain[0], -reach), min(plain[1], reach)
        return plain

    def _decay(self, argument: int, variable: int, exponent: float) -> float:
        """Upper end of ``v ** exponent * exp(a)`` where ``a <= d - c * v ** r`` with ``c, r > 0``; inf if not so."""
        constant, terms = self.table.linear(argument)
        if len(terms) != 1 or exponent <= 0:
            return math.inf
        coefficient, factors = self.table.factors(terms[0][0])
        slope = -terms[0][1] * coefficient
        if len(factors) != 1 or slope <= 0:
            return math.inf
        inner, scale = self._as_variable(factors[0][0])
        rate = factors[0][1]
        if inner != variable or rate <= 0:
            return math.inf
        slope *= scale**rate
        peak = (exponent / (slope * rate)) ** (1 / rate)
        low, high = self.box[variable]
        at = min(max(peak, low), high)
        return at**exponent * math.exp(constant - slope * at**rate) if at > 0 else 0.0
