"""What a mechanism keeps between steps: finding it, naming it, and making it public unknowns for the next step."""

import copy
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayProxy
from .execution import Execution
from .intervals import Interval
from .leaves import FIXED, PLAIN, Path, has_attributes, leaves, sharing
from .refusal import Reason, Refusal
from .scalars import Tracked
from .shape_numbers import ShapeFloat, ShapeInt, is_shape_number, plain_value
from .step_numbers import Formula, is_step_number

Signature = tuple[tuple[Path, tuple[object, ...]], ...]
"""For every tensor, tracked number and shape number that is kept: where it is, and what is known of it."""


def _coarse(ends: Interval) -> str:
    return "nonnegative" if ends[0] >= 0 else "any"


def _range_of(word: str) -> Interval:
    return (0.0, float("inf")) if word == "nonnegative" else (-float("inf"), float("inf"))


def signature_after(execution: Execution, root: Any) -> tuple[Signature, tuple[int, ...]]:
    """Check that nothing private is kept, and describe what is; with the expressions of all that is kept.

    Raises:
        Refusal: private data or noise is kept.
    """
    session, o = execution.session, execution.operands
    table = session.table
    found: list[tuple[Path, tuple[object, ...]]] = []
    expressions: list[int] = []
    try:
        parts = list(leaves(root, session.filename))
    except TypeError as error:
        raise session.refuse("DPA106", f"{error}; what it holds cannot be followed from step to step") from error
    for leaf in parts:
        value = leaf.value.tensor if isinstance(leaf.value, ArrayProxy) else leaf.value
        if isinstance(value, Tensor):
            if o.shadows.is_constant(value):
                session.inside = True  # the analysis reads it, and not the candidate
                try:
                    found.append((leaf.path, ("constant", _fingerprint(value))))
                finally:
                    session.inside = False
                continue
            if has_attributes(value):
                session.refuse(
                    "DPA106", "a tensor is kept that changes from step to step and has attributes of its own"
                )
            ids = o.shadows.of(value).reshape(-1).tolist()
            kept = execution.public_only(ids, "kept")
            expressions.extend(kept)
            if all(table.is_known(x) for x in kept):
                found.append((leaf.path, ("constant", _fingerprint(value))))
            else:
                low = "nonnegative" if all(table.is_nonnegative(x) for x in kept) else "any"
                found.append((leaf.path, ("public", low)))
        elif isinstance(value, Tracked):
            (kept_one,) = execution.public_only([value.expression], "kept")
            expressions.append(kept_one)
            found.append((leaf.path, ("number", _coarse(table.range(kept_one)))))
        elif is_shape_number(value):
            found.append((leaf.path, ("shape", value.full, value.batch)))
        elif isinstance(value, np.ndarray):
            found.append((leaf.path, ("array", value.tobytes())))
    return tuple(found), tuple(expressions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An ordinary value that is kept, by its type and text; ``number`` where it is an int or a float."""

    kind: str
    text: str
    number: int | float | None = field(default=None, compare=False)
    identity: object = None
    """The object itself where its text does not say which it is: a class, or code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """A kept number that follows from the step and from what was kept before."""

    formula: Formula


PlainState = dict[Path, Kept | Moving | None]
"""For every place: an ordinary value, or ``None`` where something else is kept."""


def kept_number(value: int | float) -> Kept:
    return Kept(kind=type(value).__name__, text=repr(value), number=value)


def plain_state(root: Any, filename: str) -> PlainState:
    """Everything kept that is an ordinary value or a number from steps, and the places of what is not."""
    found: PlainState = {}
    for leaf in leaves(root, filename):
        value = leaf.value
        if is_step_number(value):
            found[leaf.path] = Moving(formula=value.formula)
        elif isinstance(value, (*PLAIN, *FIXED)) and not isinstance(value, Tracked) and not is_shape_number(value):
            plain: Any = value
            number = plain if type(plain) in {int, float} else None
            identity = plain if isinstance(plain, type | types.CodeType | types.BuiltinFunctionType) else None
            found[leaf.path] = Kept(kind=type(plain).__name__, text=repr(plain), number=number, identity=identity)
        else:
            found[leaf.path] = None
    return found


def put_numbers(root: Any, filename: str, numbers: Mapping[Path, Any]) -> None:
    """Set the numbers at these places.

    Raises:
        TypeError: one of them is kept in a tuple or set.
    """
    if not numbers:
        return
    for leaf in list(leaves(root, filename)):
        if leaf.path in numbers:
            leaf.replace(numbers[leaf.path])


def plainly(root: Any, filename: str, numbers: Mapping[Path, int | float]) -> None:
    """Turn everything that an analysis left in a mechanism into ordinary values, with ``numbers`` for those of steps.

    Raises:
        TypeError: one of them is kept in a set.
    """
    for leaf in list(leaves(root, filename)):
        value = leaf.value
        if is_step_number(value):
            leaf.replace(numbers[leaf.path])
        elif isinstance(value, Tracked):
            leaf.replace(float.__float__(value))
        elif is_shape_number(value):
            leaf.replace(plain_value(value))
        elif isinstance(value, ArrayProxy):
            leaf.replace(value.tensor.detach().numpy())


def joined_signature(one: Signature, other: Signature) -> Signature | None:
    """What is known of a state that is one of two; ``None`` where they differ in more than values."""
    if one == other:
        return one
    first, second = dict(one), dict(other)
    if set(first) != set(second):
        return None
    joined: list[tuple[Path, tuple[object, ...]]] = []
    for path, what in one:
        twin = second[path]
        if what == twin:
            joined.append((path, what))
        elif {what[0], twin[0]} <= {"constant", "public"}:
            joined.append((path, ("public", "any")))
        elif what[0] == twin[0] == "number":
            joined.append((path, ("number", "any")))
        else:
            return None
    return tuple(joined)


def _fingerprint(tensor: Tensor) -> bytes:
    return bytes(repr(tensor.detach().reshape(-1).tolist()), "ascii")


def prepare(execution: Execution, root: Any, signature: Signature) -> None:
    """Give a mechanism that ran unwatched the shadows that its signature describes."""
    session, o = execution.session, execution.operands
    table = session.table
    known = dict(signature)
    for leaf in list(leaves(root, session.filename)):
        what = known.get(leaf.path)
        value = leaf.value
        if isinstance(value, ArrayProxy):
            value = value.tensor
        if isinstance(value, Tensor):
            if what is None or what[0] not in {"constant", "public", "array"}:
                session.refuse(
                    "DPA111", f"a tensor appears in the state at {leaf.path} that no analysed step put there"
                )
            assert what is not None
            shared = o.shadows.knows(value)
            if what[0] == "public":
                ids = [table.public(("state", leaf.path, k), _range_of(str(what[1]))) for k in range(value.numel())]
                put = o.shadows.write if shared else o.shadows.attach
                put(value, np.array(ids, dtype=np.int64).reshape(tuple(value.shape)))
            elif not shared:
                o.shadows.set_constant(value)
            elif not o.shadows.is_constant(value):
                o.shadows.write(value, o.shadows.known(value))
        elif what is not None and what[0] == "number" and isinstance(value, int | float | np.generic):
            atom = table.public(("state", leaf.path), _range_of(str(what[1])))
            leaf.replace(Tracked(float(value), atom, o))
        elif what is not None and what[0] == "shape":
            kind = ShapeInt if isinstance(value, int) else ShapeFloat
            leaf.replace(kind(value, what[1], what[2], session))  # type: ignore[arg-type]
        elif what is not None and what[0] == "public" and isinstance(value, np.ndarray):
            tensor = torch.from_numpy(value)
            ids = [table.public(("state", leaf.path, k), _range_of(str(what[1]))) for k in range(tensor.numel())]
            o.shadows.attach(tensor, np.array(ids, dtype=np.int64).reshape(tuple(tensor.shape)))
            leaf.replace(ArrayProxy(tensor))


def snapshot(root: Any, filename: str) -> Any:
    """An independent copy of a mechanism, in which memory is shared where it was.

    Raises:
        Refusal: there is none.
    """
    try:
        copied = copy.deepcopy(root)
    except RuntimeError as error:
        reason = Reason(rule="DPA106", line=None, message=f"what the mechanism keeps cannot be copied: {error!s:.120}")
        raise Refusal(reason) from error
    if sharing(root, filename) != sharing(copied, filename):
        message = "arrays, or an array and a tensor, are kept that share their memory, which a copy of the mechanism would not"
        raise Refusal(Reason(rule="DPA106", line=None, message=message))
    return copied
