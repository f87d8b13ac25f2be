"""sigma_eff of one step: 1 / sup of ``|contribution over noise|`` over all inputs, jointly over all that is released.

A contribution's squared norm is a sum of coordinates ``W_c * o_c`` where ``o_c`` is a square and ``W_c`` depends on the
sample only through sums of such squares. Coordinates with the same ``W`` that occur in the same sums are one *norm
variable* ``y = sum o_c``; the bound is then over a few variables ``y >= 0``, whatever the number of coordinates.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .bounds import Term, supremum
from .contribution import Coordinate
from .intervals import Interval
from .session import Session
from .shapes import Shrinking

ROUNDING_SLACK = 4e-6
"""Relative allowance for float32: norms and sums are evaluated with relative error below 2^-24 times a few tens."""


@dataclass(slots=True, kw_only=True)
class Group:
    """Coordinates that behave alike: one norm variable, with the factors (and weights) that it is multiplied by."""

    sums: tuple[tuple[int, float], ...]
    """The sums of squares in which the coordinates occur, with their coefficient there."""
    factors: dict[int, float] = field(default_factory=dict)
    elements: set[int] = field(default_factory=set)
    highest: float = 0.0
    copies: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartBound:
    """Bound of one independent part of a contribution, with what it needs to be checked again."""

    supremum_squared: float
    copies: float
    terms: tuple[Term, ...]
    norms: dict[int, tuple[int, dict[int, float]]]
    publics: dict[int, int]
    box: dict[int, Interval]


def bound_parts(
    session: Session, coordinates: list[Coordinate], shrinking: Shrinking, fixed: Mapping[int, float]
) -> list[PartBound]:
    """Bounds of the parts of one sample's contribution; their sum bounds the squared norm over noise.

    Args:
        fixed: public variables with their value at the step in question.
    """
    groups = _groups(session, coordinates, shrinking)
    return [_bound(session, part, fixed) for part in _components(session, groups)]


def part_shape(session: Session, part: PartBound) -> object:
    """What a bound is computed from, with samples left out: parts that are alike have the same bound."""
    table = session.table
    names: dict[int, int] = {}

    def shape(x: int) -> object:
        if x in names:
            return names[x]
        names[x] = len(names)
        return names[x], shaped(x)

    def shaped(x: int) -> object:
        if x in part.norms:
            rest, variables = part.norms[x]
            return "norm", shape(rest), tuple(variables.items())
        if x in part.publics:
            return "public", part.publics[x]
        node = table.nodes[x]
        match node[0]:
            case "lin":
                return "lin", node[1], tuple((shape(t), k) for t, k in node[2])  # type: ignore[attr-defined]
            case "mul":
                return "mul", tuple((shape(f), e) for f, e in node[1])  # type: ignore[attr-defined]
            case "g" | "r" | "opaque" | "p" | "c" | "z" | "h":
                return node[0], table.range(x), node[1] if node[0] in {"p", "c"} else None
            case "fun":
                return "fun", node[1], shape(node[2])  # type: ignore[arg-type]
            case _:
                return node[0], tuple(shape(c) for c in node[1:])  # type: ignore[arg-type]

    terms = tuple((t.weight, t.variable, shape(t.factor)) for t in part.terms)
    return part.copies, terms, tuple(sorted(part.box.items())), tuple(sorted(part.publics.items()))


# ---- from coordinates to groups -----------------------------------------------------------------------------------


class _Sums:
    """All sums of squares below the factors of the coordinates."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.table = session.table
        self.members: dict[int, dict[int, float]] = {}
        self._visited: set[int] = set()

    def collect(self, x: int) -> None:
        stack = [x]
        while stack:
            node = stack.pop()
            if node in self._visited or not self.table.touch[node]:
                continue
            self._visited.add(node)
            if self.table.kind(node) == "lin":
                constant, terms = self.table.linear(node)
                squares = {t: k for t, k in terms if k > 0 and self.table.touch[t] and self._is_square(t)}
                if squares and (constant or len(terms) > 1):
                    self.members[node] = squares
            stack.extend(self.table.children(node))

    def _is_square(self, x: int) -> bool:
        return all(e % 2 == 0 or self.table.is_nonnegative(f) for f, e in self.table.factors(x)[1])

    def depends(self, x: int) -> set[int]:
        """Sums of squares that ``x`` depends on, at whatever depth."""
        found: set[int] = set()
        stack, seen = [x], set()
        while stack:
            node = stack.pop()
            if node in seen or not self.table.touch[node]:
                continue
            seen.add(node)
            if node in self.members:
                found.add(node)
            stack.extend(self.table.children(node))
        return found


def _groups(session: Session, coordinates: list[Coordinate], shrinking: Shrinking) -> list[Group]:
    table = session.table
    sums = _Sums(session)
    squared = []
    for coordinate in coordinates:
        square = _square(session, coordinate.ratio)
        sums.collect(square)
        squared.append(square)
    where: dict[int, list[tuple[int, float]]] = {}
    for node, members in sums.members.items():
        for term, coefficient in members.items():
            where.setdefault(term, []).append((node, coefficient))
    by_factor: dict[int, set[int]] = {}
    for term in where:
        for factor, _ in table.factors(term)[1]:
            by_factor.setdefault(factor, set()).add(term)
    weights: dict[int, dict[int, float]] = {}
    for square in squared:
        weight, factors = table.factors(square)
        element, rest = _element(session, by_factor, dict(factors))
        own = weights.setdefault(element, {})
        own[rest] = own.get(rest, 0.0) + weight
    groups = _classes(session, where, weights)
    for group in groups:
        if group.sums and len(group.elements) > 1 and table.longer_axes and group.highest > 0:
            # A sum over an axis that is longer in reality.
            group.highest = math.inf
        group.copies = _copies(session, group, shrinking)
    return groups


def _classes(
    session: Session, where: dict[int, list[tuple[int, float]]], weights: dict[int, dict[int, float]]
) -> list[Group]:
    """Elements of the same sums that meet the same factors share one variable; the largest weight counts for all."""
    found: dict[tuple[object, ...], Group] = {}
    for element, own in weights.items():
        signature = tuple(sorted(where.get(element, ())))
        key = (signature, frozenset(own)) if signature else (element,)
        group = found.setdefault(key, Group(sums=signature))
        for rest, weight in own.items():
            group.factors[rest] = max(group.factors.get(rest, 0.0), weight)
        group.elements.add(element)
        group.highest += session.table.range(element)[1]
    return list(found.values())


def _square(session: Session, ratio: int) -> int:
    """``ratio ** 2`` as a product with even exponents (no absolute values: a square needs none)."""
    table = session.table
    coefficient, factors = table.factors(ratio)
    powers: dict[int, float] = {}
    for factor, exponent in factors:
        node = table.nodes[factor]
        inner = int(node[1]) if node[0] == "abs" else factor  # type: ignore[call-overload]
        powers[inner] = powers.get(inner, 0.0) + 2 * exponent
    return table.scale(table.monomial(powers), coefficient * coefficient)


def _element(session: Session, by_factor: dict[int, set[int]], powers: dict[int, float]) -> tuple[int, int]:
    """Split a product into a square that occurs in a sum (the largest such), and the rest."""
    table = session.table
    best: tuple[int, int, int] | None = None
    for term in {t for f in powers for t in by_factor.get(f, ())}:
        scale, inner = table.factors(term)
        if scale == 1 and all(_divides(powers.get(f, 0.0), e) for f, e in inner):
            size = len(inner)
            if best is None or size > best[0]:
                left = dict(powers)
                for f, e in inner:
                    left[f] = left[f] - e
                best = size, term, table.monomial(left)
    if best is not None:
        return best[1], best[2]
    own = {f: e for f, e in powers.items() if table.touch[f]}
    public = {f: e for f, e in powers.items() if not table.touch[f]}
    return table.monomial(own), table.monomial(public)


def _divides(have: float, need: float) -> bool:
    return have >= need > 0 or have <= need < 0


def _copies(session: Session, group: Group, shrinking: Shrinking) -> float:
    """How many real groups this one stands for: 1 if its coordinates are whole blocks, more where an axis is cut."""
    if shrinking.is_real:
        return 1.0
    blocks: dict[int, set[int]] = {}
    whole: set[int] = set()
    for element in group.elements:
        own = _raw_coordinates(session, element)
        if len(own) == 1:
            ((block, coordinate),) = own
            blocks.setdefault(block, set()).add(coordinate)
        else:
            whole.update(b for b, _ in own)
    ratio = 1.0
    for block, coordinates in blocks.items():
        ratio = max(ratio, _axis_ratio(session, shrinking.tiny[block], shrinking.real[block], coordinates))
    if ratio > 1 and len(blocks) > 1:
        session.refuse(
            "DPA111", "parts of several blocks are bounded together, which cannot be carried to the real shape"
        )
    return ratio


def _raw_coordinates(session: Session, element: int) -> set[tuple[int, int]]:
    """Coordinates that an element is made of, not looking into sums of squares (norms)."""
    table = session.table
    found: set[tuple[int, int]] = set()
    for factor, exponent in table.factors(element)[1]:
        direct: set[tuple[int, int]] = set()
        stack, seen = [factor], set()
        while stack:
            node = stack.pop()
            if node in seen or not table.touch[node]:
                continue
            seen.add(node)
            if table.kind(node) == "g":
                direct.add((int(table.nodes[node][2]), int(table.nodes[node][3])))  # type: ignore[call-overload]
            stack.extend(table.children(node))
        if len(direct) == 1 and exponent > 0:
            found |= direct
    if not found:
        return {(int(n[2]), int(n[3])) for n in (table.nodes[c] for c in _leaves(session, element)) if n[0] == "g"}  # type: ignore[call-overload]
    return found


def _leaves(session: Session, x: int) -> Iterable[int]:
    stack, seen = [x], set()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        children = session.table.children(node)
        if not children:
            yield node
        stack.extend(children)


def _axis_ratio(session: Session, tiny: tuple[int, ...], real: tuple[int, ...], coordinates: set[int]) -> float:
    places = [_unravel(c, tiny) for c in coordinates]
    used = [{p[a] for p in places} for a in range(len(tiny))]
    if math.prod(len(u) for u in used) != len(coordinates):
        session.refuse("DPA111", "a part of a block that is not a box is treated on its own; the real shape is unknown")
    ratio = 1.0
    for axis, seen in enumerate(used):
        if len(seen) == tiny[axis]:
            continue
        if len(seen) != 1:
            session.refuse("DPA111", "a part of an axis is treated on its own; the real shape is unknown")
        ratio *= real[axis] / tiny[axis]
    return ratio


def _unravel(index: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    place = []
    for n in reversed(shape):
        place.append(index % n)
        index //= n
    return tuple(reversed(place))


# ---- from groups to bounds ----------------------------------------------------------------------------------------


def _components(session: Session, groups: list[Group]) -> list[list[Group]]:
    """Groups that depend on common sums of squares belong together; the others are bounded one by one."""
    parent = list(range(len(groups)))

    def root(k: int) -> int:
        while parent[k] != k:
            k = parent[k]
        return k

    sums = _Sums(session)
    for group in groups:
        for factor in group.factors:
            sums.collect(factor)
    owner: dict[int, int] = {}
    by_sum: dict[int, list[int]] = {}
    for k, group in enumerate(groups):
        for node, _ in group.sums:
            by_sum.setdefault(node, []).append(k)
    for k, group in enumerate(groups):
        for node in {n for factor in group.factors for n in sums.depends(factor)}:
            for other in by_sum.get(node, ()):
                parent[root(other)] = root(k)
            if node in owner:
                parent[root(owner[node])] = root(k)
            owner[node] = k
    parts: dict[int, list[Group]] = {}
    for k, group in enumerate(groups):
        parts.setdefault(root(k), []).append(group)
    return list(parts.values())


def _bound(session: Session, groups: list[Group], fixed: Mapping[int, float]) -> PartBound:
    table = session.table
    copies = {g.copies for g in groups}
    if len(copies) > 1 or (len(groups) > 1 and copies != {1.0}):
        session.refuse("DPA111", "parts of blocks are bounded together, which cannot be carried to the real shape")
    norms: dict[int, tuple[int, dict[int, float]]] = {}
    box: dict[int, Interval] = {}
    terms: list[Term] = []
    for variable, group in enumerate(groups):
        box[variable] = (0.0, group.highest)
        terms.extend(Term(weight=w, variable=variable, factor=f) for f, w in group.factors.items())
        for node, coefficient in group.sums:
            norms.setdefault(node, (table.zero, {}))[1][variable] = coefficient
    covered: dict[int, set[int]] = {}
    for group in groups:
        for node, _ in group.sums:
            covered.setdefault(node, set()).update(group.elements)
    for node, (_, parts) in list(norms.items()):
        constant, linear = table.linear(node)
        rest = table.combine(constant, {t: k for t, k in linear if t not in covered[node]})
        norms[node] = rest, parts
    publics = _public_variables(session, [f for g in groups for f in g.factors], box)
    for public, at in fixed.items():
        if public in publics:
            box[publics[public]] = (at, at)
    value = supremum(table, terms, norms, publics, box)
    return PartBound(
        supremum_squared=value, copies=groups[0].copies, terms=tuple(terms), norms=norms, publics=publics, box=box
    )


def _public_variables(session: Session, factors: list[int], box: dict[int, Interval]) -> dict[int, int]:
    """Public unknowns with a non-negative range become variables that monomials of can be pushed about."""
    table = session.table
    found: dict[int, int] = {}
    for factor in factors:
        for leaf in _leaves(session, factor):
            if table.kind(leaf) == "p" and leaf not in found and table.range(leaf)[0] >= 0 and len(found) < 12:
                variable = len(box)
                found[leaf] = variable
                box[variable] = table.range(leaf)
    return found
