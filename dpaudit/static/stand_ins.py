"""Stand-ins answer as what they stand for: to ``type``, ``isinstance``, ``hasattr``, ``getattr`` and reads of attributes.

A tracked number is a subclass of ``float``, a shape is a tuple of its own, a NumPy array is a proxy. A candidate that could tell
would keep its promises here and nowhere else. Whether a tracked number is a float, an int or a truth value is not followed:
a question on which these differ is refused.
"""

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .arrays import ArrayProxy
from .scalars import Tracked
from .shape_numbers import ShapeFloat, ShapeInt, is_shape_number
from .shapes import ShapeTuple
from .step_numbers import StepFloat, StepInt, is_step_number

if TYPE_CHECKING:
    from .calls import Calls

_STANDING_FOR: dict[type, tuple[type, ...]] = {
    Tracked: (float, int, bool),
    StepInt: (int,),
    StepFloat: (float,),
    ShapeInt: (int,),
    ShapeFloat: (float,),
    ShapeTuple: (torch.Size,),
    ArrayProxy: (np.ndarray,),
}
_OF_INSTANCES = frozenset(
    {"expression", "operands", "formula", "book", "full", "batch", "session", "tensor", "is_scalar"}
)
_OF_LOGGERS = frozenset({"level", "handlers", "parent", "manager", "root", "filters", "disabled", "propagate"})
_NAMES = frozenset({"__doc__", "__name__"})
TELLING = (
    frozenset(n for kind, plain in _STANDING_FOR.items() for n in dir(kind) if not all(hasattr(p, n) for p in plain))
    | _OF_INSTANCES
    | _OF_LOGGERS
    | _NAMES
)
"""Attributes by which a candidate could tell that it is analysed, or how the surroundings are set up."""


def is_stand_in(value: Any) -> bool:
    return type(value) in _STANDING_FOR


def plain_types(value: Any) -> tuple[type, ...]:
    """The types that a value may have where nobody watches."""
    if is_step_number(value) or is_shape_number(value):
        return (int,) if isinstance(value, int) else (float,)
    return _STANDING_FOR.get(type(value), (type(value),))


def asked(calls: "Calls", function: Any, args: tuple[Any, ...]) -> Any:
    """``isinstance``, ``hasattr``, ``getattr`` or ``type`` of one argument, as they come out where nobody watches.

    Raises:
        Refusal: that depends on what is not followed (DPA116).
        AttributeError: as without an analysis.
    """
    value, *rest = args
    if function in {getattr, hasattr} and rest and rest[0] in TELLING:
        check(calls, value, rest[0])
    if not is_stand_in(value):
        return function(*args)
    kinds = plain_types(value)
    if function is type:
        answers: set[Any] = set(kinds)
    elif function is isinstance:
        answers = {issubclass(kind, rest[0]) for kind in kinds}
    else:
        answers = {hasattr(kind, rest[0]) for kind in kinds}
    if len(answers) > 1:
        _refuse(calls, "whether a private or released number is a float, an int or a truth value is not followed")
    (answer,) = answers
    if function is not getattr:
        return answer
    if not answer and len(rest) > 1:
        return rest[1]
    if not answer:
        raise AttributeError(f"{kinds[0].__name__!r} object has no attribute {rest[0]!r}")
    return getattr(value, rest[0])


def check(calls: "Calls", value: Any, attribute: str) -> None:
    """An attribute that is in :data:`TELLING` is read.

    Raises:
        Refusal: it tells of the analysis or of the surroundings (DPA116).
    """
    if attribute in _NAMES and (is_stand_in(value) or is_stand_in(getattr(value, "__self__", None)) or _is_ours(value)):
        _refuse(calls, f"{attribute} of a number, a shape or an array may tell that it is analysed")
    if is_stand_in(value) and not all(hasattr(kind, attribute) for kind in plain_types(value)):
        _refuse(calls, f"{attribute} is no attribute of a {plain_types(value)[0].__name__}")
    if attribute in _OF_LOGGERS and isinstance(value, logging.Logger):
        _refuse(calls, f"{attribute} of a logger tells how the caller logs")


def _is_ours(value: Any) -> bool:
    """Whether a function or class is one of the analysis."""
    return str(getattr(value, "__module__", "")).partition(".")[0] == "dpaudit"


def _refuse(calls: "Calls", message: str) -> None:
    _, session = calls.hooks.watching()
    session.mark_line()
    session.refuse("DPA116", message)
