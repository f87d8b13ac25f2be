"""One sample's part in everything that was released, as a vector of expressions over noise."""

from collections.abc import Callable
from dataclasses import dataclass

from .floating import LARGEST
from .session import Release, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinate:
    """One coordinate of one sample's contribution.

    Attributes:
        ratio: contribution over standard deviation of the noise.
        contribution, noise_std: the two, in the units of the release.
        line: where noise and private data met.
    """

    ratio: int
    contribution: int
    noise_std: int
    line: int | None


def contributions(session: Session, sample: int, subtract_absent: bool) -> list[Coordinate]:
    """What sample number ``sample`` adds to each release of the session.

    Args:
        subtract_absent: the neighbour keeps the row, with a gradient of zero; its contribution is subtracted.

    Raises:
        Refusal: a private term is not one sample's own, or the noise of a release depends on private data.
    """
    found: list[Coordinate] = []
    for release in session.releases:
        own = _own_part(session, release, sample)
        own = present(session, own)
        if subtract_absent:
            own = session.table.subtract(own, zeroed(session, own))
        own = _directed(session, own)
        std = _noise_std(session, release)
        if own == session.table.zero:
            continue
        ratio = session.table.multiply([own, session.table.power(std, -1.0)])
        found.append(Coordinate(ratio=ratio, contribution=own, noise_std=std, line=release.line))
    return found


def _own_part(session: Session, release: Release, sample: int) -> int:
    table = session.table
    parts: dict[int, float] = {}
    for term, coefficient in release.private:
        for x, k in _expanded(session, term, coefficient, 0):
            touch = table.touch[x]
            if touch & (touch - 1) and session.conditional:
                x = _declared_public(session, x)
                touch = table.touch[x]
            if touch & (touch - 1):
                session.refuse(
                    "DPA103",
                    f"released at line {release.line}: not a sum of one term a sample"
                    f"{session.mixing_note(x)}, before any bound per sample",
                    session.mixing_line(x),
                )
            if touch == 1 << sample:
                parts[x] = parts.get(x, 0.0) + k
    return table.combine(0.0, parts)


def _declared_public(session: Session, x: int) -> int:
    """``x`` with what depends on several samples taken for a public number, for the conditional bound."""
    table = session.table

    def leaf(y: int) -> int | None:
        touch = table.touch[y]
        if y == x or not touch & (touch - 1) or table.kind(y) in {"min", "max", "where", "mul"}:
            return None
        session.declassified[y] = table.lines[y]
        return table.public(("declared", y), table.range(y))

    return rewritten(session, x, leaf, {})


def _expanded(session: Session, term: int, coefficient: float, depth: int) -> list[tuple[int, float]]:
    """Distribute public factors over a sum of several samples' terms."""
    table = session.table
    touch = table.touch[term]
    if not touch & (touch - 1) or depth > 4:
        return [(term, coefficient)]
    _, factors = table.factors(term)
    inner = [(f, e) for f, e in factors if table.touch[f]]
    outer = [table.power(f, e) for f, e in factors if not table.touch[f]]
    if len(inner) != 1 or inner[0][1] != 1 or table.kind(inner[0][0]) != "lin":
        return [(term, coefficient)]
    _, parts = table.linear(inner[0][0])
    found: list[tuple[int, float]] = []
    for part, k in parts:
        if table.touch[part]:
            found.extend(_expanded(session, table.multiply([part, *outer]), coefficient * k, depth + 1))
    return found


def factored(session: Session, x: int) -> int:
    """Take what is common to all terms of a sum out of it: ``w*g - w*m -> w*(g - m)``."""
    table = session.table
    constant, terms = table.linear(x)
    if constant or len(terms) < 2:
        return x
    per_term = [dict(table.factors(t)[1]) for t, _ in terms]
    common = {
        f: min(p[f] for p in per_term) for f, e in per_term[0].items() if all(f in p and p[f] * e > 0 for p in per_term)
    }
    if not common:
        return x
    rest: dict[int, float] = {}
    constant = 0.0
    row = None
    for (_, k), powers in zip(terms, per_term, strict=True):
        left = table.monomial({f: e - common.get(f, 0.0) for f, e in powers.items()})
        if left == table.one:
            constant += k
        else:
            rest[left] = rest.get(left, 0.0) + k
            row = row or left
    return table.multiply([table.combine(constant, rest), table.monomial(common)])


def _directed(session: Session, x: int) -> int:
    """Factors of the direction apart, and the rest split on the conditions that it uses as numbers."""
    table = session.table
    coefficient, factors = table.factors(factored(session, x))
    parts = [table.power(split_on_conditions(session, f) if _is_weight(session, f) else f, e) for f, e in factors]
    return table.scale(table.multiply(parts), coefficient)


def _is_weight(session: Session, x: int) -> bool:
    return session.table.kind(x) == "lin" and _condition_as_number(session, x) is not None


def rewritten(session: Session, x: int, leaf: Callable[[int], int | None], memo: dict[int, int]) -> int:
    """``x`` with some of its parts replaced: ``leaf`` gives the replacement, or ``None`` to look inside."""
    if x in memo:
        return memo[x]
    table = session.table
    if not table.touch[x]:
        return x
    new = leaf(x)
    if new is None:
        new = _rebuilt(session, x, lambda y: rewritten(session, y, leaf, memo))
    memo[x] = new
    return new


def _rebuilt(session: Session, x: int, again: Callable[[int], int]) -> int:
    table = session.table
    node = table.nodes[x]
    parts = table.children(x)
    match node[0]:
        case "lin":
            constant, terms = table.linear(x)
            return table.add([table.constant(constant), *(table.scale(again(t), k) for t, k in terms)])
        case "mul":
            return _rebuilt_product(session, x, again)
        case "min" | "max":
            return table.extreme(str(node[0]), [again(c) for c in parts])
        case "abs":
            return table.absolute(again(parts[0]))
        case "fun":
            return table.function(str(node[1]), again(parts[0]))
        case "where":
            return table.where(again(parts[0]), again(parts[1]), again(parts[2]))
        case "lt" | "le" | "eq":
            return table.compare(str(node[0]), again(parts[0]), again(parts[1]))
        case "not":
            return table.negate(again(parts[0]))
        case "and" | "or":
            return table.junction(str(node[0]), [again(c) for c in parts])
        case _:
            return x


def _rebuilt_product(session: Session, x: int, again: Callable[[int], int]) -> int:
    table = session.table
    powers = [(again(f), e) for f, e in table.factors(x)[1]]
    if any(table.value(f) == 0 and e < 0 for f, e in powers):
        # 0 / 0: NaN in the candidate. Taken as any value that the product can have elsewhere.
        session.notes.setdefault(
            "a row whose gradient is exactly zero makes the candidate divide 0 by 0", table.lines[x]
        )
        return table.public(("at zero", x), table.range(x))
    return table.multiply([table.power(f, e) for f, e in powers])


def zeroed(session: Session, x: int) -> int:
    """``x`` for a row whose gradient is zero. What is not known there becomes an unknown of the same range."""
    table = session.table

    def leaf(y: int) -> int | None:
        match table.kind(y):
            case "g":
                return table.zero
            case "r":
                return table.one
            case "opaque":
                return table.public(("at zero", y), table.range(y))
            case _:
                return None

    return rewritten(session, x, leaf, {})


def present(session: Session, x: int) -> int:
    """``x`` for a row that is there."""
    if not session.table.has_row(x):
        return x
    return rewritten(session, x, lambda y: session.table.one if session.table.kind(y) == "r" else None, {})


def split_on_conditions(session: Session, x: int, depth: int = 0) -> int:
    """Where a condition is used as a number, ``f(b) = where(b, f(1), f(0))``: both values then share one condition."""
    table = session.table
    found = _condition_as_number(session, x)
    if found is None or depth >= 3:
        return x
    branches = [rewritten(session, x, lambda y, v=v: v if y == found else None, {}) for v in (table.one, table.zero)]  # type: ignore[misc]
    yes, no = (split_on_conditions(session, b, depth + 1) for b in branches)
    return table.where(found, yes, no)


def _condition_as_number(session: Session, x: int) -> int | None:
    table = session.table
    stack, seen = [x], set()
    while stack:
        node = stack.pop()
        if node in seen or not table.touch[node] or not table.has_condition(node):
            continue
        seen.add(node)
        kind = table.kind(node)
        if kind in {"lt", "le", "eq"}:
            return node
        children = table.children(node)
        stack.extend(children[1:] if kind == "where" else children)
    return None


def _noise_std(session: Session, release: Release) -> int:
    """Standard deviation of the noise of one release."""
    table = session.table
    squares: list[int] = []
    for term, coefficient in release.noise:
        outer = [table.power(f, e) for f, e in table.factors(term)[1] if table.kind(f) != "z"]
        if any(_is_open(session, f) for f, _ in table.factors(term)[1]):
            session.notes.setdefault(
                "a released number that scales noise is taken to be neither so small nor so large that float32 loses its digits",
                release.line,
            )
        std = table.scale(table.multiply(outer), coefficient) if outer else table.constant(coefficient)
        if len(release.noise) == 1:
            return table.absolute(std)
        squares.append(table.power(std, 2.0))
    return table.power(table.add(squares), 0.5)


def _is_open(session: Session, x: int) -> bool:
    """Whether a factor of noise is a number that was released, of any size."""
    table = session.table
    if table.touch[x] or table.has_noise(x) or (table.kind(x) == "p" and table.nodes[x][1][0] == "slot"):  # type: ignore[index]
        return False
    low, high = sorted(map(abs, table.range(x)))
    return not 1 / LARGEST <= low <= high <= LARGEST
