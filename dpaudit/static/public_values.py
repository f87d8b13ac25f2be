"""Public numbers that a step computed with: whether they depend on the small shape that ran.

What was proved at a small shape is carried to the real one only if the candidate computes with the same public numbers at
both small shapes, in the same order. Only a loop over rows may differ: it repeats the same numbers once for every row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Key = tuple[int | None, str]
Noted = dict[Key, list[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicValues:
    """Numbers by line and operation: in order on the first path through the step, as sets over all paths."""

    ordered: dict[Key, tuple[object, ...]]
    seen: dict[Key, frozenset[object]]
    rows: int
    chunks: int | None = None

    @classmethod
    def of(
        cls, paths: Sequence[tuple[Noted, Sequence[tuple[int, object]]]], rows: int, chunks: int | None = None
    ) -> "PublicValues":
        """Args:
        paths: for every path, the values of public tensors, and the numbers that Python computed with, by site.
        rows: number of rows that ran.
        chunks: number of chunks that they were cut into, where the candidate cuts them.
        """
        seen: dict[Key, set[object]] = {}
        ordered: dict[Key, tuple[object, ...]] = {}
        for place, (noted, trace) in enumerate(paths):
            lists = dict(noted)
            for site, number in trace:
                shown = float(f"{number:.9g}") if isinstance(number, float) else number
                lists.setdefault((None, f"site {site}"), []).append(shown)
            for key, values in lists.items():
                seen.setdefault(key, set()).update(values)
                if place == 0:
                    ordered[key] = tuple(values)
        return cls(
            ordered=ordered, seen={key: frozenset(values) for key, values in seen.items()}, rows=rows, chunks=chunks
        )

    def difference(self, other: "PublicValues") -> tuple[Key, list[object]] | None:
        """The first place at which the two differ, with some of the numbers; ``None`` if nowhere."""
        for key in sorted(set(self.seen) | set(other.seen), key=str):
            one, two = self.seen.get(key, frozenset()), other.seen.get(key, frozenset())
            if one != two:
                return key, sorted(one ^ two, key=str)[:4]
            mine, others = self.ordered.get(key, ()), other.ordered.get(key, ())
            if mine != others and not self._repeated(mine, others, other):
                return key, sorted(one, key=str)[:4]
        return None

    def _repeated(self, mine: Sequence[object], others: Sequence[object], other: "PublicValues") -> bool:
        """Whether the two are the same numbers, once for every row, or once for every chunk of rows."""
        if once_a_row(mine, self.rows) == once_a_row(others, other.rows):
            return True
        if self.chunks is None or other.chunks is None:
            return False
        return once_a_row(mine, self.chunks) == once_a_row(others, other.chunks)


def once_a_row(values: Sequence[object], rows: int) -> tuple[object, ...]:
    """The sequence with what is repeated for every row said once, whichever loop is the inner one."""
    count = len(values) // rows
    if not values or len(values) % rows:
        return ("in order", *values)
    if list(values) == list(values[:count]) * rows:
        return ("a row", *values[:count])
    if all(values[k] == values[k - k % rows] for k in range(len(values))):
        return ("a row", *values[::rows])
    return ("in order", *values)
