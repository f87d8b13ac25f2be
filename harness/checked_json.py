"""Values read from JSON that anyone may have written: each is checked for its type, and a wrong one is named."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from dpaudit.contract import DataError


def parse_json(text: str, *, where: str) -> object:
    """JSON without NaN or infinity.

    Raises:
        DataError: it is not.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: expected JSON, got {text!r:.80} ({error}); the file is damaged, train again"
        ) from error


def closed_object(values: object, names: set[str], *, where: str) -> dict[str, Any]:
    """An object with exactly these keys."""
    if not isinstance(values, dict) or set(values) != names:
        got = f"keys {sorted(map(str, values))}" if isinstance(values, dict) else type(values).__name__
        raise DataError(f"{where}: expected an object with exactly the keys {sorted(names)}, got {got}")
    return values


def object_at(values: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """The object under ``name``."""
    if not isinstance(values[name], dict):
        raise DataError(f"{where}: {name}: expected an object, got {values[name]!r:.80}")
    return dict(values[name])


def integer_at(values: Mapping[str, Any], name: str, where: str) -> int:
    """The integer under ``name``; True and False are none."""
    if type(values[name]) is not int:
        raise DataError(f"{where}: {name}: expected an integer, got {values[name]!r:.80}")
    return int(values[name])


def number_at(values: Mapping[str, Any], name: str, where: str) -> float:
    """The finite number under ``name``."""
    if (
        type(values[name]) not in (int, float) or not abs(values[name]) <= sys.float_info.max
    ):  # NaN, inf, a huge integer
        raise DataError(f"{where}: {name}: expected a finite number, got {values[name]!r:.80}")
    return float(values[name])


def optional_number_at(values: Mapping[str, Any], name: str, where: str) -> float | None:
    """The finite number under ``name``, or ``None`` for null."""
    return None if values[name] is None else number_at(values, name, where)


def numbers_at(values: Mapping[str, Any], name: str, where: str) -> tuple[float, ...]:
    """The finite numbers in the list under ``name``."""
    if not isinstance(values[name], list | tuple):
        raise DataError(f"{where}: {name}: expected a list of numbers, got {values[name]!r:.80}")
    return tuple(number_at({name: value}, name, where) for value in values[name])


def boolean_at(values: Mapping[str, Any], name: str, where: str) -> bool:
    """The truth value under ``name``."""
    if type(values[name]) is not bool:
        raise DataError(f"{where}: {name}: expected true or false, got {values[name]!r:.80}")
    return bool(values[name])


def text_at(values: Mapping[str, Any], name: str, where: str) -> str:
    """The text under ``name``."""
    if type(values[name]) is not str:
        raise DataError(f"{where}: {name}: expected text, got {values[name]!r:.80}")
    return str(values[name])
