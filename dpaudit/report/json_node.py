"""A place in a JSON document that is read with the type expected there."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeVar

from dpaudit.contract import Bracket, DataError

from .stable_json import JsonData

Word = TypeVar("Word", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A value and where it stands, for example ``report.audits[0].epsilon.target``.

    Every method returns the value as one type, or raises :class:`DataError` naming what was expected, what arrived
    and where.
    """

    value: JsonData
    where: str

    def refuse(self, expected: str) -> NoReturn:
        """Raise the error that says what should have been here."""
        got = "null" if self.value is None else f"{type(self.value).__name__} {self.value!r}"
        raise DataError(
            f"{self.where}: expected {expected}, got {got[:120]}; write the report again with this version of dpaudit"
        )

    def fields(self, *names: str) -> dict[str, "Node"]:
        """The members of an object that has exactly these keys."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        for missing in (name for name in names if name not in self.value):
            raise DataError(f"{self.where}: expected a key {missing!r}, got none; the report is of another version")
        for unknown in (key for key in self.value if key not in names):
            raise DataError(
                f"{self.where}: expected only the keys {', '.join(names)}, got {unknown[:80]!r}; "
                "the report is of another version"
            )
        return {name: Node(value=self.value[name], where=f"{self.where}.{name}") for name in names}

    def mapping(self) -> Iterator[tuple[str, "Node"]]:
        """Keys and members of an object with free keys."""
        if not isinstance(self.value, dict):
            self.refuse("an object")
        for key, value in self.value.items():
            yield key, Node(value=value, where=f"{self.where}.{key[:80]}")

    def items(self) -> tuple["Node", ...]:
        """The members of a list."""
        if not isinstance(self.value, list):
            self.refuse("a list")
        return tuple(Node(value=value, where=f"{self.where}[{place}]") for place, value in enumerate(self.value))

    def pair(self) -> tuple["Node", "Node"]:
        """The two members of a list of two."""
        members = self.items()
        if len(members) != 2:
            self.refuse("a list of two")
        return members[0], members[1]

    def text(self) -> str:
        """A string."""
        return self.value if isinstance(self.value, str) else self.refuse("a string")

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(member.text() for member in self.items())

    def boolean(self) -> bool:
        """True or false."""
        return self.value if isinstance(self.value, bool) else self.refuse("true or false")

    def integer(self) -> int:
        """An integer; not true or false, not 3.0."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.refuse("an integer")
        return self.value

    def number(self) -> float:
        """A float; ``"inf"`` is infinity."""
        if self.value in ("inf", "-inf"):
            return math.inf if self.value == "inf" else -math.inf
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            self.refuse('a number or "inf"')
        try:
            return float(self.value)
        except OverflowError:
            self.refuse("a number in the range of a float")

    def optional_number(self) -> float | None:
        """A float, or ``None`` for null."""
        return None if self.value is None else self.number()

    def optional_numbers(self) -> tuple[float | None, ...]:
        """A list of floats and nulls."""
        return tuple(member.optional_number() for member in self.items())

    def optional_integer(self) -> int | None:
        """An integer, or ``None`` for null."""
        return None if self.value is None else self.integer()

    def word(self, words: type[Word]) -> Word:
        """A member of a closed set of words."""
        if not isinstance(self.value, str) or self.value not in {word.value for word in words}:
            self.refuse(f"one of {', '.join(word.value for word in words)}")
        return words(self.value)

    def bracket(self, methods: "Node") -> Bracket:
        """A bracket from this list of two ends and the list of two methods beside it."""
        lower, upper = (end.optional_number() for end in self.pair())
        lower_method, upper_method = (method.text() for method in methods.pair())
        if lower is not None and upper is not None and not lower <= upper:
            self.refuse("a lower end no larger than the upper end")
        return Bracket(lower=lower, upper=upper, lower_method=lower_method, upper_method=upper_method)
