"""The dispatch mode: every ATen operation is run on the tiny tensors and, beside it, on expressions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from . import handlers_elementwise, handlers_move, handlers_reduce
from .axis_watch import AxisWatch
from .floating import NUMBERS
from .kinds import check_numbers, check_results
from .operands import Handler, Operands
from .session import Session
from .shadow import Ids, ShadowMemory

HANDLERS: dict[str, Handler] = {**handlers_elementwise.HANDLERS, **handlers_reduce.HANDLERS, **handlers_move.HANDLERS}
_GAUSSIAN = frozenset({"normal_functional", "randn", "randn_like", "normal_", "normal"})
_SHAPE_OF_DATA = frozenset(
    {"nonzero", "masked_select", "unique", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
)
_OVERWRITES = frozenset({"fill", "zero", "copy", "normal", "uniform", "random", "bernoulli", "exponential"})
_UNWRITTEN = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "empty_permuted"})
_HOST_READS = frozenset({"_local_scalar_dense", "equal", "is_nonzero", "allclose", "item"})


_RESIZES = frozenset({"resize", "resize_as", "set", "resize_output", "set_data", "swap"})
_VIEWS = frozenset(
    {
        "view", "reshape", "expand", "permute", "transpose", "t", "slice", "select", "squeeze", "unsqueeze", "split",
        "split_with_sizes", "unbind", "unfold", "diagonal", "as_strided", "alias", "detach", "movedim", "swapaxes", "view_as",
        "chunk", "narrow", "_reshape_alias", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes", "numpy_T", "mT",
        "_unsafe_view", "lift_fresh", "lift", "expand_as", "flatten", "swapdims", "moveaxis", "matrix_H", "adjoint", "_to_copy",
    }
)  # fmt: skip
"""Ways to look at a storage that change no value."""
_REACHING, _NO_END = frozenset({"slice", "split", "unsafe_split", "roll"}), 2**63 - 1
"""Operations that take what there is where less is there than they ask for."""
MAXIMAL_CONSTANTS, MAXIMAL_SEEN = 1_000_000, 4096

_RESHAPED_IN_PLACE = frozenset({"squeeze", "unsqueeze", "t", "transpose", "swapaxes", "swapdims", "as_strided"})
"""In place they change how a storage is looked at, not what is in it."""


def base_name(schema_name: str) -> str:
    """``aten::mul_`` -> ``mul``."""
    name = schema_name.split("::")[-1]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


class ShadowMode(TorchDispatchMode):  # type: ignore[no-untyped-call,unused-ignore]
    """Keeps shadow memory in step with real memory."""

    def __init__(self, operands: Operands, axes: AxisWatch) -> None:
        super().__init__()  # type: ignore[no-untyped-call,unused-ignore]
        self.operands, self.axes = operands, axes
        self.session: Session = operands.session
        self.shadows: ShadowMemory = operands.shadows

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """The wrapper that this would add imports the whole compiler on first use."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        session = self.session
        was_inside, session.inside = session.inside, True
        try:
            session.mark_line()
            return self._run(func, args, kwargs)
        except ArithmeticError as error:
            session.refuse("DPA109", f"{func}: {error}")
        finally:
            session.inside = was_inside

    def _run(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        schema = func._schema
        name = base_name(schema.name)
        inputs = tensors_in((args, kwargs))
        for tensor in inputs:
            if not self.shadows.knows(tensor):
                if name in {"lift_fresh", "lift_fresh_copy", "lift"}:
                    self.shadows.set_constant(tensor)
                else:
                    self.shadows.is_constant(tensor)
        constant = all(self.shadows.is_constant(t) for t in inputs)
        overwrites = schema.is_mutable and name in _OVERWRITES
        random = torch.Tag.nondeterministic_seeded in func.tags
        counted = not random and self.axes.shows_counts(name, schema.overload_name, constant)
        self._watch_constants(name, inputs[1:] if overwrites else inputs, counted)
        if random:
            return self._random(func, name, args, kwargs)
        if name in _REACHING:
            self._check_reach(func, name, args, kwargs)
        if not constant and name in _HOST_READS:
            session_message = "a private value is read by the host where it cannot be followed"
            self.session.refuse("DPA110", f"{session_message} ({name})")
        if not constant and name in _SHAPE_OF_DATA:
            self.session.refuse("DPA107", f"the shape of a value depends on private or released data ({name})")
        if name.startswith("_foreach") and not constant:
            return self._foreach(func, name, args, kwargs)
        if schema.is_mutable and name in _RESHAPED_IN_PLACE:
            return func(*args, **kwargs)
        if schema.is_mutable and not constant and name in _RESIZES:
            self.session.refuse("DPA109", f"{name} changes the memory of a tracked tensor")
        if schema.is_mutable and not constant and name not in HANDLERS:
            self._require_public(name, inputs)
        before = {t.untyped_storage()._cdata for t in inputs}
        if schema.is_mutable and not constant:
            # What they hold is read from memory, which is about to be overwritten.
            for tensor in inputs:
                self.shadows.spell_out(tensor)
        result = func(*args, **kwargs)
        self.axes.after(name, inputs, args, kwargs, result, constant)
        if constant:
            self._constant_results(result, before, schema, inputs)
            return result
        if _is_view(schema) or self._is_alias(result, before, schema):
            if name not in _VIEWS or schema.overload_name == "dtype":
                self.session.refuse("DPA109", f"{func} looks at private or released values in another way")
            return result
        self._shadow(func, name, args, kwargs, result)
        return result

    def _check_reach(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """A place beyond the end of a small axis may lie inside the real one."""
        given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
        tensor = given["self"]
        dims = given.get("dims", given.get("dim", 0))
        for place, dim in enumerate([dims] if isinstance(dims, int) else dims or [0]):
            size = tensor.numel() if dims == [] else int(tensor.shape[dim])
            by_rows = dim % max(tensor.dim(), 1) == 0 and size == self.session.tiny_rows
            if not (self.operands.table.more_rows if by_rows else self.operands.table.longer_axes):
                continue
            if name == "slice":
                reach = [b for b in (given.get("start"), given.get("end")) if b is not None and b != _NO_END]
                beyond = any(not -size <= b <= size for b in reach) or not given.get("step", 1) < max(size, 2)
            elif name == "roll":
                beyond = abs(given["shifts"][place]) >= max(size, 1)
            else:
                beyond = isinstance(given["split_size"], int) and given["split_size"] > size > 0
            if beyond:
                self.session.refuse(
                    "DPA111", f"{name} by a fixed size beyond the small shape means something else at the real shape"
                )

    # ---- constants --------------------------------------------------------------------------------------------

    def _watch_constants(self, name: str, inputs: Sequence[Tensor], counted: bool) -> None:
        """Note the public values that are computed with: they must not differ between two shrinkings.

        Args:
            counted: the result depends on how many there are of each, so that their number must not differ either.
        """
        session, table = self.session, self.operands.table
        if not session.watching:
            return
        seen = session.public_values.setdefault((table.line, name), [])
        for tensor in inputs:
            if tensor.is_complex():
                continue
            if self.shadows.is_constant(tensor):
                if tensor.numel() > MAXIMAL_CONSTANTS:
                    session.refuse("DPA114", f"a public tensor of {tensor.numel()} elements is too large to compare")
                every = np.asarray(tensor.detach().reshape(-1).tolist(), dtype=float)
                values = np.unique(every).tolist()
                if counted and len(values) > 1:
                    values = np.sort(every).tolist()
            else:
                distinct = np.unique(self.shadows.of(tensor)).tolist()
                values = [v for v in map(table.value, distinct) if v is not None]
            if values:
                seen.append(tuple(float(f"{v:.9g}") for v in values))
        if len(seen) > MAXIMAL_SEEN:
            session.refuse("DPA114", f"more than {MAXIMAL_SEEN} public values at one line, too many to compare")

    def _constant_results(self, result: Any, before: set[int], schema: Any, inputs: Sequence[Tensor]) -> None:
        name = base_name(schema.name)
        for tensor in tensors_in(result):
            if tensor.untyped_storage()._cdata in before:
                continue
            if name in _UNWRITTEN and tensor.numel():
                self._unwritten(tensor)
            else:
                self.shadows.set_constant(tensor)

    def _unwritten(self, tensor: Tensor) -> None:
        """Memory that nobody has written to holds what was there before, which may be anybody's private data."""
        everybody = (1 << max(self.session.tiny_rows, 1)) - 1
        count = tensor.numel() if tensor.numel() <= MAXIMAL_SEEN else 1
        ids = np.array([self.session.opaque("unwritten", everybody, 0) for _ in range(count)], dtype=np.int64)
        self.shadows.attach(tensor, ids.reshape(tuple(tensor.shape)) if count > 1 or tensor.numel() == 1 else ids[0])

    # ---- randomness -------------------------------------------------------------------------------------------

    def _random(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        session = self.session
        if kwargs.get("generator") is not None:
            session.refuse(
                "DPA112", "noise is drawn from a generator of the mechanism's own, whose state is its to choose"
            )
        if name in {"native_dropout", "dropout"} or (name not in _GAUSSIAN and name + "_" not in _GAUSSIAN):
            return self._coin(func, name, args, kwargs)
        if self.operands.is_masked and any(map(self.operands.holds_holes, tensors_in((args, kwargs)))):
            session.refuse("DPA107", "how much noise is drawn depends on private or released data")
        result = func(*args, **kwargs)
        standard = np.array([session.fresh_noise() for _ in range(result.numel())], dtype=np.int64)
        standard = standard.reshape(tuple(result.shape))
        o = self.operands
        if name == "normal" and schema_has(func, "mean"):
            given = {a.name: v for a, v in zip(func._schema.arguments, args, strict=False)} | kwargs
            mean, std = given.get("mean", 0.0), given.get("std", 1.0)
            ids = o.each(
                lambda m, s, z: o.total([m, o.table.multiply([session.settle(s), z])]),
                np.broadcast_to(o.ids(mean), standard.shape),
                np.broadcast_to(o.ids(std), standard.shape),
                standard,
            )
        else:
            ids = standard
        self._store(args, kwargs, result, ids, func._schema.is_mutable)
        return result

    def _coin(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """A random number that is not Gaussian is a public coin: it earns no credit."""
        session = self.session
        if any(
            self.operands.table.touch[x]
            for t in tensors_in((args[1:] if func._schema.is_mutable else args, kwargs))
            for x in self.shadows.of(t).reshape(-1).tolist()
        ):
            session.refuse("DPA112", f"private data meets randomness that is not Gaussian ({name})")
        result = func(*args, **kwargs)
        ends = (0.0, 1.0) if name in {"rand", "rand_like", "bernoulli"} else (-float("inf"), float("inf"))
        for tensor in tensors_in(result):
            ids = np.array([session.fresh_coin(*ends) for _ in range(tensor.numel())], dtype=np.int64)
            self._store(args, kwargs, tensor, ids.reshape(tuple(tensor.shape)), func._schema.is_mutable)
        return result

    def _store(self, args: Sequence[Any], kwargs: dict[str, Any], result: Tensor, ids: Ids, mutable: bool) -> None:
        if mutable and self.shadows.knows(result):
            self.shadows.write(result, ids)
        else:
            self.shadows.attach(result, ids)

    # ---- operations on expressions ----------------------------------------------------------------------------

    def _is_alias(self, result: Any, before: set[int], schema: Any) -> bool:
        outputs = tensors_in(result)
        return bool(outputs) and not schema.is_mutable and all(t.untyped_storage()._cdata in before for t in outputs)

    def _shadow(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        o = self.operands
        schema = func._schema
        if name in handlers_move.MOVEMENT:
            ids = handlers_move.move(o, func, args, kwargs)
        elif name in HANDLERS:
            named = {k: v for k, v in kwargs.items() if k not in {"out", "dtype", "layout", "device", "pin_memory"}}
            ids = HANDLERS[name](o, schema.overload_name, args, named, result)
        else:
            ids = self._unknown(func, name, args, kwargs, result)
            if ids is None:
                return
        outputs = tensors_in(result)
        parts = ids if isinstance(ids, list) else [ids]
        if len(outputs) != len(parts):
            self.session.refuse("DPA109", f"{func}: expected {len(parts)} results, got {len(outputs)}")
        inputs = tensors_in((args, kwargs))
        check_results(o, name, name in HANDLERS or name in handlers_move.MOVEMENT, inputs, outputs, parts)
        check_numbers(o, inputs, (args, kwargs))
        self._check_holes(name, inputs, parts)
        for tensor, part in zip(outputs, parts, strict=True):
            if part.shape != tuple(tensor.shape):
                self.session.refuse(
                    "DPA109", f"{func}: expected a result of shape {part.shape}, got {tuple(tensor.shape)}"
                )
            self._check_known(tensor, part)
            if schema.is_mutable:
                self.shadows.write(tensor, part)
            else:
                self.shadows.attach(tensor, part)

    def _check_holes(self, name: str, inputs: Sequence[Tensor], parts: Sequence[Ids]) -> None:
        """What a private mask has let through stays tied to the mask, even where its values do not matter."""
        if self.operands.is_masked and any(self.operands.holds_holes(t) for t in inputs):
            has_hole = self.operands.table.has_hole
            if not all(has_hole(x) for part in parts for x in part.reshape(-1).tolist()):
                self.session.refuse("DPA107", f"the shape of a value depends on private or released data ({name})")

    def _check_known(self, tensor: Tensor, ids: Ids) -> None:
        """What the analysis takes for known numbers is what was computed."""
        table = self.operands.table
        flat = np.broadcast_to(ids, tuple(tensor.shape)).reshape(-1)
        known = {int(x): value for x in np.unique(flat) if (value := table.value(int(x))) is not None}
        if known and not tensor.is_complex():
            computed = np.asarray(tensor.detach().reshape(-1).tolist(), dtype=float)
            table.floats.constants_agree(
                [(known[x], y) for x, y in zip(flat.tolist(), computed, strict=True) if x in known]
            )

    def _unknown(
        self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any], result: Any
    ) -> list[Ids] | None:
        """Outside the verified set: decompose, else say nothing about the result but what it depends on."""
        if not func._schema.is_mutable:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                outputs = tensors_in(parts)
                return [np.array(self.shadows.of(t)) for t in outputs]
        ids = [x for t in tensors_in((args, kwargs)) for x in self.operands.settled(t).reshape(-1).tolist()]
        touch, flags = self.operands.touched(ids)
        if name in NUMBERS and any(self.operands.table.floats.may_be_nan(x, divided=True) for x in ids):
            name = f"{name} of what may be NaN"
        if func._schema.is_mutable and touch:
            self.session.refuse("DPA109", f"{func} on private data is outside the verified set of operations")
        if flags & 1:
            self.session.refuse("DPA109", f"{func} on noise that is not yet released is outside the verified set")
        return [
            np.array([self.session.opaque(name, touch, flags) for _ in range(t.numel())], dtype=np.int64).reshape(
                tuple(t.shape)
            )
            for t in tensors_in(result)
        ]

    def _require_public(self, name: str, inputs: Sequence[Tensor]) -> None:
        for tensor in inputs:
            if any(self.operands.table.touch[x] for x in self.operands.settled(tensor).reshape(-1).tolist()):
                self.session.refuse("DPA109", f"{name} on private data is outside the verified set of operations")

    def _foreach(self, func: Any, name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """A list operation is its single operation, one by one."""
        single = getattr(torch, name.removeprefix("_foreach_"), None)
        if name == "_foreach_norm":
            single = torch.linalg.vector_norm
        if single is None:
            self.session.refuse("DPA109", f"{func} is outside the verified set of operations")
        count = len(args[0])
        lists = [a if isinstance(a, list | tuple) else [a] * count for a in args]
        with self:
            results = [single(*[column[k] for column in lists], **kwargs) for k in range(count)]  # type: ignore[misc]
            if not func._schema.is_mutable:
                return results
            for target, value in zip(args[0], results, strict=True):
                target.copy_(value)
        return None


def schema_has(func: Any, argument: str) -> bool:
    return any(a.name == argument for a in func._schema.arguments)


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_in(v)]
    if isinstance(value, list | tuple):
        return [t for v in value for t in tensors_in(v)]
    return []


def _is_view(schema: Any) -> bool:
    return not schema.is_mutable and any(r.alias_info is not None and not r.alias_info.is_write for r in schema.returns)
