"""Nodes of hash-consed expressions, atoms, and questions about an expression. The notation is that of :mod:`.expressions`."""

import math
from collections.abc import Iterable

from .floating import FloatWatch
from .intervals import EVERYTHING, Interval
from .ranges import range_of

Node = tuple[object, ...]

COMPARISONS = frozenset({"lt", "le", "eq"})
BOOLEAN = frozenset({"r", "lt", "le", "eq", "not", "and", "or"})

_HAS_NOISE, _HAS_PUBLIC, _HAS_HOLE, _HAS_ROW, _HAS_CONDITION = 1, 2, 4, 8, 16


class ExpressionStore:
    """Nodes, atoms, and what is known of an expression; :class:`.expressions.Table` adds operations."""

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
        self.overflowing: set[int | None] = set()
        """Lines at which private data is released that is NaN where a sum or product of gradients overflows."""
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
        if node[0] in COMPARISONS:
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
            if known is not None:
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
