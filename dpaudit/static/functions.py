"""The function mode: what leaves tensors for Python (numbers, lists, arrays, shapes) and what comes back."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .arrays import ArrayProxy
from .axis_watch import AxisWatch
from .cuts import CUTS, DIAGONALS, Cuts
from .handlers_elementwise import truth
from .masks import compress, is_open_mask, write_compressed
from .operands import Operands
from .scalars import Tracked, wrap
from .shape_numbers import is_shape_number, numeric_value
from .shapes import ShapeBook, chunk_size
from .step_numbers import StepInt, is_step_number

_STRUCTURAL = frozenset(
    {
        "view", "reshape", "expand", "zeros", "ones", "empty", "new_zeros", "new_ones", "new_empty", "repeat", "randn",
        "split", "split_with_sizes", "roll", "narrow", "unflatten", "flatten", "tile", "unfold", "broadcast_to", "permute",
        "select", "unsqueeze", "squeeze", "transpose", "sum", "mean", "movedim", "range", "topk", "kthvalue", "resize_",
        "rand", "index_select", "expand_as", "view_as", "__getitem__", "__setitem__", "slice", "t", "eye", "normal",
        "as_strided", "norm", "vector_norm", "cat", "stack", "randn_like", "zeros_like", "ones_like", "unbind", "chunk",
        "arange", "empty_strided", "prod", "amax", "amin", "max", "min", "any", "all", "dim", "moveaxis",
    }
)  # fmt: skip
"""Functions whose integer arguments are sizes, axes or places."""

_ESCAPES = frozenset(
    {
        "__array__", "data_ptr", "storage", "untyped_storage", "_typed_storage", "__dlpack__", "to_dlpack",
        "__reduce_ex__", "__format__", "__repr__", "__str__", "register_hook", "share_memory_", "__cuda_array_interface__",
        "allclose", "equal", "is_nonzero", "__contains__",
    }
)  # fmt: skip
_FREE_NUMBERS = frozenset({"dim", "ndimension", "ndim", "get_device", "element_size"})
"""Numbers of a tensor that are the same at every shape."""
_FACTORIES = frozenset({"tensor", "as_tensor", "scalar_tensor", "asarray"})


class BoundaryMode(TorchFunctionMode):
    """Tracks numbers across the border between tensors and Python."""

    def __init__(self, operands: Operands, shapes: ShapeBook, axes: AxisWatch) -> None:
        super().__init__()
        self.operands = operands
        self.session = operands.session
        self.shapes = shapes
        self.cuts = Cuts(axes)
        self._foreign_device = False
        """A device was read from a tensor that need not lie where gradients do."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.session.inside:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if name == "__get__":
            return self._attribute(func, args, kwargs)
        special: Callable[..., Any] | None = getattr(self, f"_on_{name.strip('_')}", None)
        if special is not None:
            self.session.mark_line()
            return special(func, args, kwargs)
        if name in _ESCAPES:
            self._check_escape(name, args)
        if name in _FACTORIES:
            return self._factory(func, name, args, kwargs)
        if name.rstrip("_") in DIAGONALS:
            self.cuts.diagonal(name, args, kwargs)
        if name == "split" and self.cuts.cuts_rows(args, kwargs):
            size = chunk_size(self.shapes.shrinking, self.session)
            return func(args[0], size) if size else func(*args, **kwargs)
        if name in CUTS:
            args, kwargs = self.cuts.call(name, args, kwargs)
        result = self._call(func, name, args, kwargs)
        if name in {"cpu", "to", "type_as"}:
            self._check_moved(name, args, kwargs, result)
        return result

    def _check_moved(self, name: str, args: Any, kwargs: Any, result: Any) -> None:
        """What another device would copy is the same memory here: neither may be written to any more."""
        shadows, tensor = self.operands.shadows, args[0]
        if not isinstance(result, Tensor) or shadows.is_constant(tensor):
            return
        if result.untyped_storage()._cdata != tensor.untyped_storage()._cdata:
            return
        given = (*args[1:], *kwargs.values())
        elsewhere = name == "cpu" or any(
            isinstance(a, str)
            or (isinstance(a, Tensor) and shadows.is_constant(a))
            or (isinstance(a, torch.device) and self._foreign_device)
            for a in given
        )
        if elsewhere:
            shadows.export(result)

    def _call(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        if name in {"full", "new_full"}:
            place = 0 if name == "full" else 1
            size = [self._convert(a, True) for a in args[: place + 1]]
            rest = [self._convert(a, False) for a in args[place + 1 :]]
            named = {k: self._convert(v, k == "size") for k, v in kwargs.items()}
            return self._full(func, name, [*size, *rest], named)
        structural = name in _STRUCTURAL
        result = func(
            *[self._convert(a, structural) for a in args],
            **{k: self._convert(v, structural) for k, v in kwargs.items()},
        )
        if _holds_sizes(result) and name not in _FREE_NUMBERS and not self.shapes.is_real:
            self.session.mark_line()
            self.session.refuse(
                "DPA111", f"{name} gives a number of the small shape, which is another at the real shape"
            )
        return result

    def _full(self, func: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        values = [a for a in [*args, *kwargs.values()] if isinstance(a, Tensor) and a.dim() == 0]
        if not values:
            return func(*args, **kwargs)
        plain = [0.0 if a is values[0] else a for a in args]
        out = func(*plain, **{k: (0.0 if v is values[0] else v) for k, v in kwargs.items()})
        return out.fill_(values[0])

    def _convert(self, value: Any, structural: bool) -> Any:
        if is_step_number(value):
            value = value.book.pin(value) if isinstance(value, StepInt) else value.book.use(value)
        if isinstance(value, Tracked):
            return self.to_tensor(value.expression)
        if is_shape_number(value):
            return self.cuts.size(value) if structural else numeric_value(value)
        if isinstance(value, ArrayProxy):
            return value.tensor
        if isinstance(value, slice):
            return slice(*(self._convert(v, structural) for v in (value.start, value.stop, value.step)))
        if type(value) in {list, tuple, torch.Size} and not all(isinstance(v, Tensor) for v in value):
            return (
                type(value)([self._convert(v, structural) for v in value])
                if type(value) is list
                else tuple(self._convert(v, structural) for v in value)
            )
        return value

    def to_tensor(self, expression: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """A 0-d tensor with the given expression. In float64, so that it never raises the precision of the other side."""
        out = torch.full((), 0.5, dtype=dtype)
        self.operands.shadows.attach(out, np.array(expression, dtype=np.int64))
        return out

    def _check_escape(self, name: str, args: Any) -> None:
        for argument in args:
            if isinstance(argument, Tensor):
                self.operands.shadows.export(argument)
            if isinstance(argument, Tensor) and not self.operands.shadows.is_constant(argument):
                self.session.mark_line()
                self.session.refuse("DPA110", f"{name} takes a private or released tensor where it cannot be followed")

    # ---- shapes -----------------------------------------------------------------------------------------------

    def _attribute(self, func: Any, args: Any, kwargs: Any) -> Any:
        out = func(*args, **kwargs)
        if func.__self__.__name__ == "device" and self.operands.shadows.is_constant(args[0]):
            self._foreign_device = True
        if func.__self__.__name__ == "requires_grad" and not self.operands.shadows.is_constant(args[0]):
            self.session.mark_line()
            self.session.refuse("DPA116", "whether a gradient requires gradients depends on who calls")
        if func.__self__.__name__ == "_base":
            self.session.mark_line()
            self.session.refuse("DPA116", "whether a gradient is a view depends on who calls")
        if func.__self__.__name__ == "shape":
            self._check_length(args[0])
            return self.shapes.of(args[0])
        if func.__self__.__name__ in {"nbytes", "__cuda_array_interface__", "itemsize"} or (
            _holds_sizes(out) and func.__self__.__name__ not in _FREE_NUMBERS
        ):
            self.session.mark_line()
            self.session.refuse("DPA111", f"the attribute {func.__self__.__name__} is outside the verified set")
        return out

    def _check_length(self, tensor: Tensor) -> None:
        """What a private mask has let through is as long as the mask says."""
        if not self.operands.shadows.is_constant(tensor) and self.operands.holds_holes(tensor):
            self.session.mark_line()
            self.session.refuse("DPA107", "a size depends on private or released data")

    def _on_size(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check_length(args[0])
        shape = self.shapes.of(args[0])
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        return shape if axis is None else shape[axis]

    def _on_numel(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check_length(args[0])
        return self.shapes.count(args[0])

    _on_nelement = _on_numel

    def _on_len(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check_length(args[0])
        return self.shapes.of(args[0])[0]

    # ---- numbers out ------------------------------------------------------------------------------------------

    def _number(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor = args[0]
        if self.operands.shadows.is_constant(tensor):
            return func(*args, **kwargs)
        ids = self.operands.shadows.of(tensor).reshape(-1)
        if ids.size != 1:
            return func(*args, **kwargs)
        return _of_kind(wrap(self.operands, int(ids[0])), tensor.dtype)

    _on_item = _number

    def _on_float(self, func: Any, args: Any, kwargs: Any) -> Any:
        if getattr(func, "__name__", "") == "float":
            return func(*args, **kwargs)
        if not self.operands.shadows.is_constant(args[0]):
            self.session.refuse(
                "DPA110", "a private or released value is turned into a plain float, where it cannot be followed"
            )
        return func(*args, **kwargs)

    def _on_int(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self._on_float(func, args, kwargs) if func.__name__ != "int" else func(*args, **kwargs)

    def _on_index(self, func: Any, args: Any, kwargs: Any) -> Any:
        return self._on_float(func, args, kwargs)

    def _on_bool(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ == "bool":
            return func(*args, **kwargs)
        tensor = args[0]
        if self.operands.shadows.is_constant(tensor):
            return func(*args, **kwargs)
        ids = self.operands.shadows.of(tensor).reshape(-1)
        if ids.size != 1:
            return func(*args, **kwargs)
        return self.session.decide(truth(self.operands, self.session.settle(int(ids[0]))))

    def _on_tolist(self, func: Any, args: Any, kwargs: Any) -> Any:
        self._check_length(args[0])
        self.cuts.take_apart(args[0])
        if self.operands.shadows.is_constant(args[0]):
            return func(*args, **kwargs)
        return _nested(self.operands, self.operands.shadows.of(args[0]), args[0].dtype)

    def _on_numpy(self, func: Any, args: Any, kwargs: Any) -> Any:
        if self.operands.shadows.is_constant(args[0]):
            self.cuts.take_apart(args[0])
            self.operands.shadows.export(args[0])
            return func(*args, **kwargs)
        if len(args) > 1 or kwargs.get("force"):
            # On another device this is a copy, and here it is the same memory.
            self.operands.shadows.export(args[0])
        return ArrayProxy(args[0].detach())

    def _on_deepcopy(self, func: Any, args: Any, kwargs: Any) -> Any:
        return args[0].detach().clone()

    # ---- numbers in -------------------------------------------------------------------------------------------

    def _factory(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        data = args[0] if args else kwargs.get("data", kwargs.get("obj"))
        if isinstance(data, ArrayProxy | Tensor):
            return self._from_tensor(name, data.tensor if isinstance(data, ArrayProxy) else data, args, kwargs)
        ids, found = _ids_of(self.operands, data)
        plain = _plain(data)
        self.session.inside = True
        try:
            out = func(plain, *args[1:], **{k: v for k, v in kwargs.items() if k != "data"})
        finally:
            self.session.inside = False
        if found:
            self.operands.shadows.attach(out, np.array(ids, dtype=np.int64).reshape(tuple(out.shape)))
        else:
            self.operands.shadows.set_constant(out)
            if isinstance(data, np.ndarray):
                self.operands.shadows.export(out)
            self.cuts.put_together(out)
        return out

    def _from_tensor(self, name: str, data: Tensor, args: Any, kwargs: Any) -> Tensor:
        """``torch.tensor`` copies; ``as_tensor`` and ``asarray`` give the same memory where they need not convert."""
        if len(args) > 1 or set(kwargs) - {"dtype", "device", "requires_grad", "copy", "data", "obj"}:
            self.session.refuse("DPA109", f"torch.{name} of a tensor with these arguments is outside the verified set")
        dtype = kwargs.get("dtype") or data.dtype
        copied = name in {"tensor", "scalar_tensor"} or bool(kwargs.get("copy"))
        out = data.detach().to(dtype, copy=True) if copied else data.to(dtype)
        if not copied and kwargs.get("device") is not None:
            self.operands.shadows.export(out)
        return out

    def _on_from_numpy(self, func: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(args[0], ArrayProxy):
            return args[0].tensor
        out = func(*args, **kwargs)
        self.operands.shadows.set_constant(out)
        self.operands.shadows.export(out)
        self.cuts.put_together(out)
        return out

    # ---- indexing ---------------------------------------------------------------------------------------------

    def _on_getitem(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, index = args
        if is_open_mask(self.operands, index):
            return compress(self.operands, tensor, index)
        return func(tensor, self._convert(self.cuts.index(tensor, index), True))

    def _on_setitem(self, func: Any, args: Any, kwargs: Any) -> Any:
        tensor, index, value = args
        value = self._convert(value, False)
        if is_open_mask(self.operands, index):
            return write_compressed(self.operands, tensor, index, value)
        return func(tensor, self._convert(self.cuts.index(tensor, index), True), value)


def _holds_sizes(value: Any) -> bool:
    """Whether a result of torch is a plain int, or several."""
    if isinstance(value, tuple | list):
        return any(map(_holds_sizes, value))
    return type(value) is int


def _nested(o: Operands, ids: Any, dtype: torch.dtype) -> Any:
    if ids.ndim == 0:
        return _of_kind(wrap(o, int(ids)), dtype)
    return [_nested(o, part, dtype) for part in ids]


def _of_kind(value: Any, dtype: torch.dtype) -> Any:
    """A known number as the kind of number that ``item()`` gives."""
    if isinstance(value, Tracked) or dtype.is_floating_point:
        return value
    return bool(value) if dtype is torch.bool else int(value)


def _ids_of(o: Operands, data: Any) -> tuple[Any, bool]:
    if isinstance(data, Tracked):
        return data.expression, True
    if isinstance(data, Tensor):
        ids = o.ids(data)
        return ids.tolist(), not o.shadows.is_constant(data)
    if isinstance(data, list | tuple):
        parts = [_ids_of(o, d) for d in data]
        return [p[0] for p in parts], any(p[1] for p in parts)
    if isinstance(data, bool | int | float):
        value = float(numeric_value(data))
        return (o.table.constant(value) if value == value else o.table.zero), False
    return 0, False


def _plain(data: Any) -> Any:
    if isinstance(data, Tracked):
        return float.__float__(data)
    if isinstance(data, Tensor):
        return 0.5
    if isinstance(data, list | tuple):
        return [_plain(d) for d in data]
    return numeric_value(data)
