"""Joints: where an axis was put together or cut, in small and in real sizes.

An axis that was joined from parts (``torch.cat``, stores into slices) is treated at the small shape as at the real one only
if every cut falls on the same side of every joint at both. Small and real places are therefore kept together, as pairs, for
all axes of one small size: a size stands for its axes, since every operation that lets two axes meet, or passes one on, keeps it.
All pairs of a size must come in one order, small and real alike; so two joints, or a joint and a cut, that trade places
between the small shape and the real one are refused, whichever came first. What moves elements about, or makes an axis
in another way, leaves it without known joints: it may not be cut.
"""

from collections.abc import Iterable, Sequence

from .session import Session

Place = tuple[int, int]
"""A place on an axis: ``(at the small shape, at the real one)``."""
_START: Place = (0, 0)


class JointBook:
    """Joints of all axes of one run, by small size. One for the constructor and all steps: state is kept between them."""

    def __init__(self) -> None:
        self._chains: dict[int, set[Place]] = {}
        self._disturbed: dict[int, str] = {}
        self._related: dict[int, set[int]] = {}
        self._lengths: dict[int, set[int]] = {}

    def add(self, session: Session, size: int, places: Iterable[Place], what: str) -> None:
        """Note joints or cuts of axes of a size.

        Raises:
            Refusal: one lies elsewhere among the others at the real shape than at the small one (DPA111).
        """
        chain = self._chains.setdefault(size, {_START})
        for place in places:
            if place in chain:
                continue
            for other in chain:
                if _order(place[0], other[0]) != _order(place[1], other[1]):
                    self._refuse(session, what, place, other)
            chain.add(place)
        self._check(session, size, what)
        if any(0 < small < size and small != real for small, real in chain):
            for relative in self._related.get(size, ()):
                self.disturb(session, relative, "looked at in another shape")

    def is_joint(self, size: int, place: Place) -> bool:
        return place in self._chains.get(size, ())

    def learn(self, size: int, real: int) -> None:
        """An axis of this small size has this real size."""
        self._lengths.setdefault(size, set()).add(real)

    def length(self, size: int) -> int | None:
        """The real size of an axis, where its small size says it."""
        ends = {real for small, real in self._chains.get(size, ()) if small == size}
        found = ends or self._lengths.get(size, set())
        return next(iter(found)) if len(found) == 1 else None

    def disturb(self, session: Session, size: int, how: str) -> None:
        """Axes of a size have joints that are not known: they must never be cut.

        Raises:
            Refusal: they were.
        """
        if size > 1 and size not in self._disturbed:
            self._disturbed[size] = how
            self._check(session, size, "a view or a move")

    def relate(
        self, session: Session, before: Sequence[int], after: Sequence[int], longer: frozenset[int] = frozenset()
    ) -> None:
        """One storage is looked at in two shapes: a joint of an axis in the one is none of a single axis in the other.

        Args:
            longer: sizes of axes that are known to be longer in reality: joints at places that are the same at both shapes are
                those of other axes of that size.
        """
        for size in before:
            self._related.setdefault(size, set()).update(n for n in after if n > 1)
            # Places that are the same at both shapes matter where axes are merged: there they lie apart.
            places = [p for p in self._chains.get(size, ()) if 0 < p[0] < size]
            merged = len(after) < len(before) and size not in longer
            if size in self._disturbed or any(p[0] != p[1] or merged for p in places):
                for other in after:
                    self.disturb(session, other, "looked at in another shape")
        for size in after:
            self._related.setdefault(size, set()).update(n for n in before if n > 1)

    def related(self, size: int) -> frozenset[int]:
        """Sizes of axes that the same memory was also looked at with."""
        return frozenset(self._related.get(size, ()))

    def _check(self, session: Session, size: int, what: str) -> None:
        """Of the first place of all, every joint is on the same side, wherever joints are."""
        if size in self._disturbed and any(0 < p[0] < size and p != (1, 1) for p in self._chains.get(size, ())):
            session.mark_line()
            session.refuse(
                "DPA111",
                f"{what}: an axis is cut whose elements were {self._disturbed[size]}, so that it is not known what lies where "
                "at the real shape",
            )

    def _refuse(self, session: Session, what: str, place: Place, other: Place) -> None:
        session.mark_line()
        session.refuse(
            "DPA111",
            f"{what} at place {place[0]} of the small axis, {place[1]} of the real one, and there is a joint or a cut at "
            f"{other[0]}, {other[1]}: they do not come in the same order",
        )


def _order(one: int, other: int) -> int:
    return (one > other) - (one < other)


def regrouped(before: Sequence[int], after: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Axes that a view merges or splits: the smallest groups of equal count that are not one and the same axis."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    old, new = [n for n in before if n != 1], [n for n in after if n != 1]
    while old or new:
        left, right = [old.pop(0)] if old else [1], [new.pop(0)] if new else [1]
        a, b = left[0], right[0]
        while a != b and (old or new):
            if (a < b and old) or not new:
                left.append(old.pop(0))
                a *= left[-1]
            else:
                right.append(new.pop(0))
                b *= right[-1]
        if left != right:
            groups.append((tuple(left), tuple(right)))
    return groups
