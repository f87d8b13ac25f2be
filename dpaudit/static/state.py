"""What a mechanism keeps between steps: finding it, naming it, and making it public unknowns for the next step."""

import copy
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import ArrayProxy
from .execution import Execution
from .intervals import Interval
from .refusal import Reason, Refusal
from .scalars import Tracked
from .shape_numbers import ShapeFloat, ShapeInt, is_shape_number, plain_value
from .step_numbers import Formula, is_step_number

Path = tuple[object, ...]
Signature = tuple[tuple[Path, tuple[object, ...]], ...]
"""For every tensor, tracked number and shape number that is kept: where it is, and what is known of it."""

_PLAIN = (
    int,
    float,
    str,
    bytes,
    bool,
    complex,
    type(None),
    torch.dtype,
    torch.device,
    torch.Size,
    np.generic,
    type,
    range,
)


_FIXED = (types.BuiltinFunctionType, types.ModuleType, types.CodeType, np.ufunc, types.MethodDescriptorType)
"""Of these the identity is all that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A value found in the state, with the place where it can be replaced."""

    path: Path
    value: Any
    replace: Callable[[Any], None]


def leaves(root: Any, filename: str) -> Iterator[Leaf]:
    """Every tensor, number and text that can be reached from a mechanism.

    Raises:
        TypeError: something holds state in a way that is not understood.
    """
    yield from _walk(root, (), lambda _: None, filename, set())


def _walk(value: Any, path: Path, replace: Callable[[Any], None], filename: str, seen: set[int]) -> Iterator[Leaf]:
    if isinstance(value, (ArrayProxy, *_PLAIN)):
        yield Leaf(path=path, value=value, replace=replace)
        return
    if isinstance(value, Tensor):
        yield Leaf(path=path, value=value, replace=replace)
        yield from _walk_attributes(value, path, filename, seen)
        return
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        for key, part in list(value.items()):
            yield from _walk(part, (*path, key), _setter(value, key), filename, seen)
    elif isinstance(value, list | deque):
        for key, part in enumerate(value):
            yield from _walk(part, (*path, key), _setter(value, key), filename, seen)
    elif isinstance(value, tuple):
        holder = list(value)
        for key, part in enumerate(value):
            yield from _walk(part, (*path, key), _tuple_setter(holder, key, type(value), replace), filename, seen)
    elif isinstance(value, set | frozenset):
        for key, part in enumerate(value):
            yield from _walk(part, (*path, key), _immutable, filename, seen)
    elif isinstance(value, np.ndarray):
        yield Leaf(path=path, value=value, replace=replace)
    elif isinstance(value, types.MethodType):
        yield from _walk(value.__self__, (*path, "self"), _immutable, filename, seen)
    elif isinstance(value, types.FunctionType):
        yield Leaf(path=(*path, "function"), value=value.__code__, replace=_immutable)
        for place, cell in enumerate(value.__closure__ or ()):
            if not isinstance(cell.cell_contents, (*_PLAIN, types.FunctionType)):
                raise TypeError("a function kept by the mechanism closes over an object")
            yield from _walk(cell.cell_contents, (*path, "closure", place), _immutable, filename, seen)
    elif isinstance(value, _FIXED):
        yield Leaf(path=(*path, "function"), value=value, replace=_immutable)
    elif hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
        yield from _walk_object(value, path, filename, seen)
    else:
        raise TypeError(f"the mechanism keeps a {type(value).__name__}")


def _walk_attributes(value: Tensor, path: Path, filename: str, seen: set[int]) -> Iterator[Leaf]:
    """What a candidate has set on a tensor, its gradient included."""
    kept = {**vars(value), **({"grad": value.grad} if value.is_leaf and value.grad is not None else {})}
    if kept and id(value) not in seen:
        seen.add(id(value))
        for name, part in kept.items():
            yield from _walk(part, (*path, name), _attribute_setter(value, name), filename, seen)


def has_attributes(value: Tensor) -> bool:
    """Whether something was set on a tensor, which would be lost with it."""
    return bool(vars(value)) or (value.is_leaf and value.grad is not None)


def _walk_object(value: Any, path: Path, filename: str, seen: set[int]) -> Iterator[Leaf]:
    module = type(value).__module__
    if module != filename and module.split(".")[0] != "torch":
        raise TypeError(f"the mechanism keeps a {module}.{type(value).__name__}")
    if isinstance(value, torch.Generator):
        raise TypeError("the mechanism keeps a generator of its own")
    yield Leaf(path=(*path, "type"), value=type(value), replace=_immutable)
    for name, part in list(getattr(value, "__dict__", {}).items()):
        yield from _walk(part, (*path, name), _attribute_setter(value, name), filename, seen)
    for kind in type(value).__mro__:
        for name in getattr(kind, "__slots__", ()):
            if hasattr(value, name):
                yield from _walk(getattr(value, name), (*path, name), _attribute_setter(value, name), filename, seen)


def _setter(container: Any, key: Any) -> Callable[[Any], None]:
    def replace(new: Any) -> None:
        container[key] = new

    return replace


def _tuple_setter(holder: list[Any], key: int, kind: type, outer: Callable[[Any], None]) -> Callable[[Any], None]:
    """A tuple is replaced as a whole."""

    def replace(new: Any) -> None:
        holder[key] = new
        outer(kind(*holder) if hasattr(kind, "_fields") else kind(holder))

    return replace


def _attribute_setter(owner: Any, name: str) -> Callable[[Any], None]:
    return lambda new: object.__setattr__(owner, name, new)


def _immutable(new: Any) -> None:
    raise TypeError("a value that changes from step to step is kept in a set")


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
        elif isinstance(value, (*_PLAIN, *_FIXED)) and not isinstance(value, Tracked) and not is_shape_number(value):
            plain: Any = value
            number = plain if type(plain) in {int, float} else None
            found[leaf.path] = Kept(kind=type(plain).__name__, text=repr(plain), number=number)
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
            if what[0] == "public":
                ids = [table.public(("state", leaf.path, k), _range_of(str(what[1]))) for k in range(value.numel())]
                o.shadows.attach(value, np.array(ids, dtype=np.int64).reshape(tuple(value.shape)))
            else:
                o.shadows.set_constant(value)
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


def snapshot(root: Any) -> Any:
    """An independent copy of a mechanism."""
    try:
        return copy.deepcopy(root)
    except RuntimeError as error:
        reason = Reason(rule="DPA106", line=None, message=f"what the mechanism keeps cannot be copied: {error!s:.120}")
        raise Refusal(reason) from error
