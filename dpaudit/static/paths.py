"""Ways through a step, put together: private conditions choose within a sample, public ones give alternatives."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .expressions import Table
from .session import Branch, Release, Session
from .state import PlainState, Signature
from .step_numbers import StepBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One way through the step.

    Attributes:
        outputs: expressions of the released update, block by block, with released values as public unknowns.
        after, kept: what the mechanism keeps afterwards, and its expressions.
        plain: ordinary values that it keeps.
        trace: public numbers that were computed with.
        course: the blocks that ran.
        mechanism: the mechanism as the step left it.
    """

    session: Session
    branches: tuple[Branch, ...]
    releases: tuple[Release, ...]
    outputs: tuple[bytes, ...]
    after: Signature
    kept: tuple[int, ...]
    plain: PlainState
    trace: list[tuple[int, object]]
    course: frozenset[tuple[int, bool]]
    book: StepBook
    mechanism: Any


def joined(paths: Sequence[Path], depth: int = 0) -> list[Path]:
    """Paths that differ in private conditions become one; paths that differ in public ones stay alternatives."""
    if len(paths) == 1:
        return list(paths)
    branch = paths[0].branches[depth]
    yes = joined([p for p in paths if p.branches[depth].outcome], depth + 1)
    no = joined([p for p in paths if not p.branches[depth].outcome], depth + 1)
    table = paths[0].session.table
    touch = table.touch[branch.condition]
    if not touch:
        return [*yes, *no]
    if len(yes) != len(no):
        paths[0].session.refuse("DPA107", "what follows depends on a private condition", branch.line)
    return [_merged(a, b, branch, touch) for a, b in zip(yes, no, strict=True)]


def _merged(yes: Path, no: Path, branch: Branch, touch: int) -> Path:
    session, table = yes.session, yes.session.table
    several = bool(touch & (touch - 1))
    where = f"; samples come together at line {session.mixing_line(branch.condition)}" if several else ""
    if yes.kept != no.kept or yes.after != no.after:
        session.refuse("DPA107", f"what is kept for later steps depends on private data{where}", branch.line)
    if yes.outputs != no.outputs or len(yes.releases) != len(no.releases):
        session.refuse("DPA107", f"control flow depends on private data{where}", branch.line)
    releases = []
    for left, right in zip(yes.releases, no.releases, strict=True):
        if left.noise != right.noise:
            session.refuse("DPA104", f"the noise depends on a private condition{where}", branch.line)
        if left.private == right.private:
            releases.append(left)
            continue
        if several:
            session.refuse("DPA107", f"control flow depends on several samples{where}", branch.line)
        releases.append(replace(left, private=_choose(table, branch.condition, left, right)))
    return replace(yes, releases=tuple(releases))


def _choose(table: Table, condition: int, left: Release, right: Release) -> tuple[tuple[int, float], ...]:
    """Terms common to both stay; the rest, which must be the condition's own sample's, is chosen by it."""
    a, b = dict(left.private), dict(right.private)
    common = {t: k for t, k in a.items() if b.get(t) == k}
    rest_a = table.combine(0.0, {t: k for t, k in a.items() if t not in common})
    rest_b = table.combine(0.0, {t: k for t, k in b.items() if t not in common})
    chosen = _pushed_where(table, condition, rest_a, rest_b)
    common[chosen] = common.get(chosen, 0.0) + 1.0
    return tuple(sorted((t, k) for t, k in common.items() if t != table.zero))


def _pushed_where(table: Table, condition: int, a: int, b: int) -> int:
    """``where(c, x*u, x*v) -> x * where(c, u, v)``: the common direction stays visible."""
    (scale_a, factors_a), (scale_b, factors_b) = table.factors(a), table.factors(b)
    left, right = dict(factors_a), dict(factors_b)
    common = {f: e for f, e in left.items() if right.get(f) == e}
    if not common:
        return table.where(condition, a, b)
    rest_a = table.scale(table.monomial({f: e for f, e in left.items() if f not in common}), scale_a)
    rest_b = table.scale(table.monomial({f: e for f, e in right.items() if f not in common}), scale_b)
    return table.multiply([table.monomial(common), table.where(condition, rest_a, rest_b)])
