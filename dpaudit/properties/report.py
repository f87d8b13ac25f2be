"""What crosses the border of the process that runs the candidate: JSON, checked on arrival."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dpaudit.probe.messages import InvalidMessage, decode_problem, encode_problem
from dpaudit.probe.problem import Problem

_LIST_LIMIT = 100
_TEXT_LIMIT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the search saw.

    Attributes:
        problems: the findings, without file and command.
        worst: the smallest noise multiplier demonstrated on any row; ``None`` if no row could be read.
        worst_reported: the reported sigma at that step.
        worst_pair: the pair in words.
        demonstrated: (step, noise multiplier) of a pair along one run, if a contribution was too large; its other rows are
            zeros whose number changes nothing, so these steps bound epsilon from below.
        beside_others: the same for a pair whose other rows may matter; these steps bound no epsilon.
        incomplete: why the search is not complete; empty if it is.
        tried: rows that were judged.
    """

    problems: tuple[Problem, ...]
    worst: float | None
    worst_reported: float | None
    worst_pair: str
    demonstrated: tuple[tuple[int, float], ...] = ()
    beside_others: tuple[tuple[int, float], ...] = ()
    incomplete: tuple[str, ...] = ()
    tried: int = 0
    notes: tuple[str, ...] = field(default=())


def encode_report(report: Report) -> dict[str, Any]:
    """The report as plain data."""
    return {
        "problems": [encode_problem(problem) for problem in report.problems],
        "worst": _text_if_infinite(report.worst),
        "worst_reported": report.worst_reported,
        "worst_pair": report.worst_pair[:_TEXT_LIMIT],
        "demonstrated": [[step, _text_if_infinite(sigma)] for step, sigma in report.demonstrated],
        "beside_others": [[step, _text_if_infinite(sigma)] for step, sigma in report.beside_others],
        "incomplete": [text[:_TEXT_LIMIT] for text in report.incomplete[:_LIST_LIMIT]],
        "tried": report.tried,
        "notes": [text[:_TEXT_LIMIT] for text in report.notes[:_LIST_LIMIT]],
    }


def decode_report(fields: Any, steps: int) -> Report:
    """The report, in the parent.

    Raises:
        InvalidMessage: a field is missing or of the wrong type or range.
    """
    if not isinstance(fields, Mapping):
        raise InvalidMessage(f"report: expected an object, got {type(fields).__name__}")
    tried = fields.get("tried")
    if type(tried) is not int or tried < 0:
        raise InvalidMessage(f"tried: expected a whole number, got {tried!r:.60}")
    return Report(
        problems=tuple(decode_problem(item) for item in _list(fields, "problems", _LIST_LIMIT)),
        worst=None if fields.get("worst") is None else _sigma(fields["worst"]),
        worst_reported=None if fields.get("worst_reported") is None else _sigma(fields["worst_reported"]),
        worst_pair=_text(fields.get("worst_pair")),
        demonstrated=_steps(fields, "demonstrated", steps),
        beside_others=_steps(fields, "beside_others", steps),
        incomplete=tuple(_text(item) for item in _list(fields, "incomplete", _LIST_LIMIT)),
        tried=tried,
        notes=tuple(_text(item) for item in _list(fields, "notes", _LIST_LIMIT)),
    )


def _steps(fields: Mapping[str, Any], name: str, steps: int) -> tuple[tuple[int, float], ...]:
    found = []
    for item in _list(fields, name, steps):
        if not isinstance(item, list) or len(item) != 2 or type(item[0]) is not int or not 0 <= item[0] < steps:
            raise InvalidMessage(f"{name}: expected [step, sigma], got {item!r:.60}")
        found.append((item[0], _sigma(item[1])))
    if len({step for step, _ in found}) != len(found):
        raise InvalidMessage(f"{name}: a step is named twice")
    return tuple(found)


def _list(fields: Mapping[str, Any], name: str, limit: int) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) > limit:
        raise InvalidMessage(f"{name}: expected a list of at most {limit}, got {value!r:.60}")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise InvalidMessage(f"expected a text of at most {_TEXT_LIMIT} characters, got {value!r:.60}")
    return value


def _sigma(value: Any) -> float:
    if value == "inf":
        return math.inf
    if type(value) not in {int, float} or not value >= 0:
        raise InvalidMessage(f"expected a noise multiplier >= 0, got {value!r:.60}")
    return float(value)


def _text_if_infinite(value: float | None) -> float | str | None:
    return "inf" if value is not None and math.isinf(value) else value
