"""Settings as plain data and back: what a run directory keeps of a recipe, an engine and of features."""

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from dpaudit.contract import UsageError


class PlainSettings:
    """To be inherited by a frozen dataclass: its fields as plain data, and back with every value checked."""

    __slots__ = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            field.name: list(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in dataclasses.fields(self)  # type: ignore[arg-type]
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Back from JSON values, each checked for its type.

        Raises:
            UsageError: an unknown or missing key, or a value of the wrong type or out of range.
        """
        hints = typing.get_type_hints(cls)
        if set(values) != set(hints):
            raise UsageError(f"{where}: expected exactly the keys {sorted(hints)}, got {sorted(map(str, values))}")
        return cls(**{name: _typed(values[name], hint, f"{where}: {name}") for name, hint in hints.items()})


def _typed(value: Any, hint: Any, where: str) -> Any:
    """``value`` as ``hint``, which is a word, a number, a truth value, a tuple of words, or one of these or None."""
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_typed(part, typing.get_args(hint)[0], where) for part in value)
    if isinstance(hint, type) and issubclass(hint, StrEnum) and value in list(hint):
        return hint(value)
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if hint in (int, bool) and type(value) is hint:
        return value
    words = ", ".join(hint) if isinstance(hint, type) and issubclass(hint, StrEnum) else getattr(hint, "__name__", hint)
    raise UsageError(f"{where}: expected {words}, got {value!r:.80}")
