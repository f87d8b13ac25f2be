"""JSON that is the same bytes for the same data: fixed layout, ASCII only, no NaN, infinity as the string ``inf``."""

import json
import math
from typing import Any, NoReturn

from dpaudit.contract import AuditBrokenError, DataError

_MAX_DEPTH = 40
JsonData = str | int | float | bool | None | list["JsonData"] | dict[str, "JsonData"]


def dump(data: JsonData) -> str:
    """``data`` as indented JSON with a newline at the end. Keys keep the order that they have.

    Floats are written by ``repr``, so that reading gives the same float; ``inf`` becomes ``"inf"``.

    Raises:
        AuditBrokenError: a NaN, a type that is not plain data, or nesting beyond 40 levels.
    """
    return _dump(data, "report", 0) + "\n"


def load(text: str) -> JsonData:
    """The data in ``text``; stricter than ``json.loads``.

    Raises:
        DataError: not JSON, a key twice in one object, a NaN or infinite literal, a number outside the float range.
    """
    try:
        data: JsonData = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite_float
        )
    except json.JSONDecodeError as error:
        raise DataError(
            f"report: expected JSON, got {error.msg.lower()!r} at line {error.lineno} column {error.colno}; "
            "the file may be cut short, write the report again"
        ) from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"report: expected plain JSON, got something no report holds: {error}") from error
    return data


def _dump(data: JsonData, where: str, depth: int) -> str:
    """One value at ``depth``, without a newline at its end."""
    if depth > _MAX_DEPTH:
        raise AuditBrokenError(f"{where[:200]}: expected at most {_MAX_DEPTH} levels of nesting, got more")
    outer, inner = "  " * depth, "  " * (depth + 1)
    if isinstance(data, dict):
        if not data:
            return "{}"
        rows = (f"{inner}{_text(key)}: {_dump(value, f'{where}.{key}', depth + 1)}" for key, value in data.items())
        return "{\n" + ",\n".join(rows) + f"\n{outer}}}"
    if isinstance(data, list):
        parts = [_dump(value, f"{where}[{place}]", depth + 1) for place, value in enumerate(data)]
        # A list of numbers is one line: a schedule of thousands of steps would fill thousands of lines.
        if all("\n" not in part for part in parts):
            return "[" + ", ".join(parts) + "]"
        return "[\n" + ",\n".join(inner + part for part in parts) + f"\n{outer}]"
    return _scalar(data, where)


def _scalar(data: object, where: str) -> str:
    if data is None:
        return "null"
    if isinstance(data, bool):
        return "true" if data else "false"
    if isinstance(data, str):
        return _text(data)
    if isinstance(data, int):
        return int.__repr__(data)
    if isinstance(data, float):
        return _float(data, where)
    raise AuditBrokenError(f"{where}: expected plain data, got {type(data).__name__}")


def _float(value: float, where: str) -> str:
    if math.isnan(value):
        raise AuditBrokenError(f"{where}: expected a number, got NaN; a report never holds one")
    if math.isinf(value):
        return '"inf"' if value > 0 else '"-inf"'
    return float.__repr__(value)


def _text(value: str) -> str:
    return json.dumps(str(value), ensure_ascii=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise DataError(f"report: expected each key once, got {key[:80]!r} twice in one object")
        found[key] = value
    return found


def _no_constant(literal: str) -> NoReturn:
    raise DataError(f'report: expected a number, null or "inf", got the literal {literal}')


def _finite_float(literal: str) -> float:
    value = float(literal)
    if not math.isfinite(value):
        raise DataError(f'report: expected a number in the range of a float or "inf", got {literal[:80]}')
    return value
