"""Shadow memory: one expression id for every element of every storage.

Shadows hang on the storage, not on the tensor, so that views, in-place operations, ``.data`` and ``detach`` need no
code of their own.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from .expressions import Table
from .session import Session


def is_short(dtype: torch.dtype) -> bool:
    """Whether a type has so few digits that its rounding matters: half precision, and less."""
    return dtype.is_floating_point and dtype.itemsize < 4


Ids = np.ndarray


_P = ParamSpec("_P")
_R = TypeVar("_R")


def _unobserved(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Looking at a tensor is not something that the candidate did."""

    @functools.wraps(method)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        session = args[0].session  # type: ignore[attr-defined]
        was_inside, session.inside = session.inside, True
        try:
            return method(*args, **kwargs)
        finally:
            session.inside = was_inside

    return wrapped


class ShadowMemory:
    """Maps storages to arrays of expression ids; ``None`` for a storage that holds only known constants."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.table: Table = session.table
        self._ids: dict[int, tuple[torch.UntypedStorage, Ids | None, int]] = {}
        self._exported: set[int] = set()

    @_unobserved
    def knows(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._ids

    @_unobserved
    def is_constant(self, tensor: Tensor) -> bool:
        """Whether every element is a number that is known and the same for all data."""
        entry = self._ids.get(tensor.untyped_storage()._cdata)
        if entry is None:
            self.session.refuse("DPA110", "a tensor of unknown origin: it was made where the analysis could not watch")
            raise AssertionError
        return entry[1] is None

    @_unobserved
    def export(self, tensor: Tensor) -> None:
        """Its memory is also visible to code that is not watched: nothing private may be written there."""
        self._exported.add(tensor.untyped_storage()._cdata)

    @_unobserved
    def set_constant(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._ids[storage._cdata] = (storage, None, tensor.element_size())

    @_unobserved
    def of(self, tensor: Tensor) -> Ids:
        """Ids of the elements of ``tensor``, in its shape. A view of shadow memory where the storage is not constant."""
        if self.is_constant(tensor):
            return self._constants(tensor)
        _, ids, size = self._ids[tensor.untyped_storage()._cdata]
        assert ids is not None
        if size != tensor.element_size():
            self.session.refuse("DPA109", "a tensor is looked at as another type of another width")
        return self._strided(ids, tensor)

    @_unobserved
    def attach(self, tensor: Tensor, ids: Ids) -> None:
        """Give a tensor that owns its storage the ids of its elements."""
        storage = tensor.untyped_storage()
        length = storage.nbytes() // tensor.element_size()
        flat = np.full(length, self.table.zero, dtype=np.int64)
        self._ids[storage._cdata] = (storage, flat, tensor.element_size())
        self._check_precision(tensor, ids)
        self._strided(flat, tensor)[...] = ids

    @_unobserved
    def spell_out(self, tensor: Tensor) -> None:
        """Give a storage of constants the ids of what it holds now. To be done before an operation in place runs."""
        if self.is_constant(tensor):
            storage = tensor.untyped_storage()
            length = storage.nbytes() // tensor.element_size()
            whole = torch.empty(0, dtype=tensor.dtype).set_(storage, 0, (length,), (1,))
            self._ids[storage._cdata] = (storage, self._constants(whole), tensor.element_size())

    @_unobserved
    def write(self, tensor: Tensor, ids: Ids) -> None:
        """Overwrite the elements of a tensor whose storage is known."""
        if tensor.untyped_storage()._cdata in self._exported:
            self.session.refuse(
                "DPA110",
                "a value that is tracked is written to memory that an array or a pointer shares, or that another device copies",
            )
        self.spell_out(tensor)
        self._check_precision(tensor, ids)
        self.of(tensor)[...] = ids

    @_unobserved
    def known(self, tensor: Tensor) -> Ids:
        """Ids of the numbers that a tensor holds, whose storage may hold others that are not known."""
        return self._constants(tensor)

    def _check_precision(self, tensor: Tensor, ids: Ids) -> None:
        if not is_short(tensor.dtype):
            return
        flat = ids.reshape(-1).tolist()
        if any(self.table.touch[x] for x in flat):
            self.session.refuse(
                "DPA113", f"private values are held in {tensor.dtype}, whose rounding the bound does not cover"
            )
        if any(self.table.has_noise(x) for x in flat):
            self.session.refuse(
                "DPA113",
                f"noise is held in {tensor.dtype}: it then takes so few values that the digits of what it is added to show",
            )

    def _constants(self, tensor: Tensor) -> Ids:
        if tensor.is_complex():
            self.session.refuse("DPA109", "complex numbers are outside the verified set")
        constant = self.table.constant
        values = tensor.detach().reshape(-1).tolist()
        try:
            ids = [constant(v) for v in values]
        except ArithmeticError:
            self.session.refuse("DPA109", "a constant tensor holds NaN")
        return np.array(ids, dtype=np.int64).reshape(tuple(tensor.shape))

    def _strided(self, flat: Ids, tensor: Tensor) -> Ids:
        last = tensor.storage_offset() + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        if tensor.numel() and last >= len(flat):
            self.session.refuse("DPA109", "the memory of a tensor was resized, by out= for instance")
        return np.lib.stride_tricks.as_strided(
            flat[tensor.storage_offset() :], tuple(tensor.shape), tuple(8 * s for s in tensor.stride())
        )
