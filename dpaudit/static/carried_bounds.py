"""Bounds of an analysed step at other steps: the same expressions, with other values of its public unknowns.

Where all terms of a bound are one power of an unknown times what is free of it, ``sup v**e * f(y) = v**e * sup f(y)``: the
supremum is then searched once, and scaled at every step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .bounds import Term, supremum
from .expressions import Table
from .sensitivity import ROUNDING_SLACK, PartBound, part_shape
from .session import Session


def sigma_of(squared: float) -> float:
    """Noise multiplier from a bound on the squared norm of contribution over noise, rounded down."""
    if not squared < float("inf"):
        return 0.0
    return squared**-0.5 * (1 - ROUNDING_SLACK) if squared > 0 else float("inf")


@dataclass(slots=True, kw_only=True)
class _Part:
    """One part with the powers of unknowns taken out, and its supremum once it is known."""

    part: PartBound
    powers: dict[int, float]
    known: float | None = None

    def squared(self, table: Table, fixed: Mapping[int, float]) -> float:
        """Bound on its squared norm over noise, for given values of the unknowns."""
        part = self.part
        left = {unknown: value for unknown, value in fixed.items() if unknown in part.publics}
        if self.known is None or left:
            box = dict(part.box)
            for unknown, value in left.items():
                box[part.publics[unknown]] = (value, value)
            found = supremum(table, part.terms, part.norms, part.publics, box)
            if not left:
                self.known = found
        else:
            found = self.known
        for unknown, exponent in self.powers.items():
            found *= fixed[unknown] ** exponent
        return part.copies * found


class CarriedBound:
    """The bound of an analysed step as a function of its public unknowns.

    Args:
        alternatives: for every public alternative its session, and for every row the parts of its bound.
        unknowns: expressions of the unknowns that have another value at other steps.
    """

    def __init__(
        self, alternatives: Sequence[tuple[Session, Sequence[Sequence[PartBound]]]], unknowns: Sequence[int]
    ) -> None:
        self._rows: list[tuple[Table, list[_Part]]] = []
        for session, rows in alternatives:
            seen: set[object] = set()
            for parts in rows:
                alike = tuple(part_shape(session, part) for part in parts)
                if alike not in seen:
                    seen.add(alike)
                    self._rows.append((session.table, [_taken_out(session.table, part, unknowns) for part in parts]))

    def sigma(self, fixed: Mapping[int, float]) -> float:
        """The smallest noise multiplier of all rows and alternatives; 0 where none is proved."""
        squares = (sum(part.squared(table, fixed) for part in parts) for table, parts in self._rows)
        return min(map(sigma_of, squares), default=float("inf"))


def _taken_out(table: Table, part: PartBound, unknowns: Sequence[int]) -> _Part:
    """A part without the unknowns of which all its terms have one power."""
    taken: dict[int, float] = {}
    for unknown in unknowns:
        if unknown not in part.publics:
            continue
        exponents = {dict(table.factors(term.factor)[1]).get(unknown, 0.0) for term in part.terms}
        if len(exponents) == 1 and not any(
            _occurs(table, unknown, _without(table, t.factor, {unknown})) for t in part.terms
        ):
            taken[unknown] = exponents.pop()
    if not taken:
        return _Part(part=part, powers={})
    terms = tuple(
        Term(weight=t.weight, variable=t.variable, factor=_without(table, t.factor, set(taken))) for t in part.terms
    )
    publics = {unknown: variable for unknown, variable in part.publics.items() if unknown not in taken}
    gone = {part.publics[unknown] for unknown in taken}
    box = {variable: ends for variable, ends in part.box.items() if variable not in gone}
    return _Part(part=replace(part, terms=terms, publics=publics, box=box), powers=taken)


def _without(table: Table, factor: int, unknowns: set[int]) -> int:
    coefficient, factors = table.factors(factor)
    return table.scale(table.monomial({f: e for f, e in factors if f not in unknowns}), coefficient)


def _occurs(table: Table, unknown: int, x: int) -> bool:
    stack, seen = [x], set()
    while stack:
        node = stack.pop()
        if node == unknown:
            return True
        if node not in seen:
            seen.add(node)
            stack.extend(table.children(node))
    return False
