"""What crosses the worker's border: JSON, checked on arrival. The parent trusts nothing that it did not validate."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dpaudit.contract import (
    RULES,
    Cell,
    NoiseClass,
    PlainData,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    Severity,
    Strength,
)
from dpaudit.contract.words import NonFinite

from .problem import Problem

_TEXT_LIMIT = 2000
_PROBLEM_LIMIT = 100


class InvalidMessage(ValueError):
    """The worker sent something that is not what it should send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the worker is asked to do."""

    text: str
    path: str
    class_name: str
    config: RunConfig
    seed: int
    time_limit: float
    memory_limit_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the worker found; every list has one entry for each step, but ``watched``: statistics of runs that were planned
    for comparison with a process that is not watched, one list a plan."""

    reported: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    classes: tuple[NoiseClass, ...]
    demonstrated: bool
    pair: str
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    watched: tuple[tuple[tuple[float, float], ...], ...] = ()
    post_processed: bool = False
    checks: tuple[str, ...] = ()


def encode_request(request: Request) -> str:
    """The request as one line of JSON."""
    config = request.config
    plain = {
        name: getattr(config, name)
        for name in RunConfig.__slots__
        if name not in {"cell", "calibration", "parameter_shapes"}
    }
    plain["parameter_shapes"] = [list(shape) for shape in config.parameter_shapes]
    plain["cell"] = {name: str(getattr(config.cell, name)) for name in ("sampler", "relation", "rows", "nonfinite")}
    fields = {name: getattr(request, name) for name in Request.__slots__ if name != "config"}
    return json.dumps({**fields, "config": plain})


def decode_request(text: str) -> Request:
    """The request, in the worker."""
    fields = json.loads(text)
    config = fields.pop("config")
    cell = config.pop("cell")
    shapes = tuple(tuple(shape) for shape in config.pop("parameter_shapes"))
    run_config = RunConfig(
        **config,
        parameter_shapes=shapes,
        cell=Cell(
            sampler=Sampler(cell["sampler"]),
            relation=Relation(cell["relation"]),
            rows=Rows(cell["rows"]),
            nonfinite=NonFinite(cell["nonfinite"]),
        ),
    )
    return Request(**fields, config=run_config)


def encode_result(result: Result) -> dict[str, Any]:
    """The result as plain data."""
    return {
        "reported": list(result.reported),
        "measured": list(result.measured),
        "classes": [str(noise_class) for noise_class in result.classes],
        "demonstrated": result.demonstrated,
        "pair": result.pair,
        "notes": list(result.notes),
        "checks": list(result.checks),
        "problems": [encode_problem(problem) for problem in result.problems],
        "post_processed": result.post_processed,
        "watched": [[list(pair) for pair in statistics] for statistics in result.watched],
    }


def encode_problem(problem: Problem) -> dict[str, Any]:
    """A problem as plain data."""
    return {
        "rule": problem.rule,
        "severity": str(problem.severity),
        "strength": str(problem.strength),
        "message": problem.message[:_TEXT_LIMIT],
        "line": problem.line,
        "evidence": dict(problem.evidence),
    }


def decode_result(fields: Any, steps: int) -> Result:
    """The result, in the parent.

    Raises:
        InvalidMessage: a field is missing or of the wrong type, length or range.
    """
    fields = _mapping(fields, "result")
    return Result(
        reported=tuple(_sigma(value, "reported", infinite=False) for value in _list(fields, "reported", steps)),
        measured=tuple(_sigma(value, "measured", infinite=True) for value in _list(fields, "measured", steps)),
        classes=tuple(_word(NoiseClass, value) for value in _list(fields, "classes", steps)),
        demonstrated=_typed(fields, "demonstrated", bool),
        pair=_text(fields, "pair"),
        notes=tuple(_checked_text(note, "notes") for note in _list(fields, "notes", None)[:_PROBLEM_LIMIT]),
        checks=tuple(_checked_text(line, "checks") for line in _list(fields, "checks", None)[:_PROBLEM_LIMIT]),
        problems=tuple(decode_problem(item) for item in _list(fields, "problems", None)[:_PROBLEM_LIMIT]),
        post_processed=_typed(fields, "post_processed", bool) if "post_processed" in fields else False,
        watched=tuple(_statistics(item) for item in fields.get("watched", [])),
    )


def decode_problem(fields: Any) -> Problem:
    """A problem, in the parent.

    Raises:
        InvalidMessage: as for :func:`decode_result`.
    """
    fields = _mapping(fields, "problem")
    rule = _text(fields, "rule")
    if rule not in RULES:
        raise InvalidMessage(f"unknown rule {rule!r}")
    line = fields.get("line")
    if line is not None and (type(line) is not int or line < 1):
        raise InvalidMessage(f"line: expected a positive whole number or null, got {line!r}")
    return Problem(
        rule,
        _word(Severity, fields.get("severity")),
        _word(Strength, fields.get("strength")),
        _text(fields, "message"),
        line,
        {str(key): _plain(value) for key, value in _mapping(fields.get("evidence"), "evidence").items()},
    )


def _statistics(value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(number) in {int, float} for number in pair)
        for pair in value
    ):
        raise InvalidMessage(f"watched: expected lists of two numbers, got {value!r:.60}")
    return tuple((float(first), float(second)) for first, second in value)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidMessage(f"{name}: expected an object, got {type(value).__name__}")
    return value


def _list(fields: Mapping[str, Any], name: str, length: int | None) -> list[Any]:
    value = fields.get(name)
    if not isinstance(value, list) or (length is not None and len(value) != length):
        raise InvalidMessage(f"{name}: expected a list{'' if length is None else f' of {length}'}, got {value!r:.60}")
    return value


def _typed(fields: Mapping[str, Any], name: str, kind: type[bool]) -> bool:
    value = fields.get(name)
    if type(value) is not kind:
        raise InvalidMessage(f"{name}: expected {kind.__name__}, got {value!r:.60}")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    return _checked_text(fields.get(name), name)


def _checked_text(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise InvalidMessage(f"{name}: expected a text of at most {_TEXT_LIMIT} characters, got {value!r:.60}")
    return value


def _sigma(value: Any, name: str, *, infinite: bool) -> float | None:
    if value is None:
        return None
    if type(value) not in {int, float} or not value >= 0 or (math.isinf(value) and not infinite):
        raise InvalidMessage(f"{name}: expected a number >= 0 or null, got {value!r:.60}")
    return float(value)


def _word(kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise InvalidMessage(f"expected a {kind.__name__}, got {value!r:.60}") from error


def _plain(value: Any) -> PlainData:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    raise InvalidMessage(f"evidence: expected plain data, got {type(value).__name__}")
