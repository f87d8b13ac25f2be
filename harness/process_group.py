"""One process, or several of ``torchrun``: what a step needs from the others.

Every process samples its own shard of the training set at the same rate, so that together they draw what one process
draws in law. Sums or rows meet in the first process, which alone adds noise and sends the released gradients back.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

import torch
from torch import Tensor, distributed

from dpaudit.contract import DataError

PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others: longer than the first one takes to test the model and write a checkpoint."""


class ProcessGroup(Protocol):
    """The processes of one run."""

    @property
    def rank(self) -> int:
        """This process, from 0. The first one adds noise, tests the model and writes files."""
        ...

    @property
    def size(self) -> int:
        """How many processes."""
        ...

    def sum_to_first(self, tensors: list[Tensor]) -> None:
        """Add up over all processes, in place; only the first one's result is defined."""
        ...

    def send_from_first(self, tensors: list[Tensor]) -> None:
        """Overwrite everybody's tensors by the first one's."""
        ...

    def send_to_first(self, tensors: list[Tensor]) -> None:
        """Give these to the first process, which must call :meth:`receive` for them; not for the first one itself."""
        ...

    def receive(self, tensors: list[Tensor], *, rank: int) -> None:
        """Overwrite these, contiguous and of the same shapes, by what process ``rank`` sends; for the first one only."""
        ...

    def total(self, counts: list[int]) -> list[int]:
        """Sums over all processes, known to all."""
        ...

    def gather(self, value: object) -> list[object]:
        """Everybody's value, in order of rank, known to all."""
        ...


class OneProcess:
    """No others."""

    rank = 0
    size = 1

    def sum_to_first(self, tensors: list[Tensor]) -> None:
        """Nothing to add."""

    def send_from_first(self, tensors: list[Tensor]) -> None:
        """Nobody to send to."""

    def send_to_first(self, tensors: list[Tensor]) -> None:
        """This is the first one."""

    def receive(self, tensors: list[Tensor], *, rank: int) -> None:
        """Nobody to receive from."""

    def total(self, counts: list[int]) -> list[int]:
        """The counts."""
        return counts

    def gather(self, value: object) -> list[object]:
        """The value."""
        return [value]


class TorchProcesses:
    """The processes that ``torchrun`` started.

    Raises:
        DataError: in every method, when another process has ended or does not answer.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()

    def sum_to_first(self, tensors: list[Tensor]) -> None:
        """Add up over all processes, in place."""
        with _lost_process():
            for tensor in tensors:
                distributed.reduce(tensor, dst=0)

    def send_from_first(self, tensors: list[Tensor]) -> None:
        """Overwrite everybody's tensors by the first one's."""
        with _lost_process():
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)

    def send_to_first(self, tensors: list[Tensor]) -> None:
        """Give these to the first process."""
        with _lost_process():
            for tensor in tensors:
                distributed.send(tensor, dst=0)

    def receive(self, tensors: list[Tensor], *, rank: int) -> None:
        """Overwrite these by what process ``rank`` sends."""
        with _lost_process():
            for tensor in tensors:
                distributed.recv(tensor, src=rank)

    def total(self, counts: list[int]) -> list[int]:
        """Sums over all processes."""
        tensor = torch.tensor(counts, dtype=torch.int64, device=self._device)
        with _lost_process():
            distributed.all_reduce(tensor)
        return [int(count) for count in tensor.tolist()]

    def gather(self, value: object) -> list[object]:
        """Everybody's value."""
        values: list[object] = [None] * self.size
        with _lost_process():
            distributed.all_gather_object(values, value)
        return values


def count_of_each(group: ProcessGroup, own: int) -> list[int]:
    """Everybody's count, in order of rank, known to all."""
    return group.total([own if rank == group.rank else 0 for rank in range(group.size)])


@contextmanager
def _lost_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch.distributed's errors derive from it
        raise DataError(
            f"distributed: another process of this run ended or does not answer ({str(error).splitlines()[0]:.200}); the last "
            "checkpoint is whole: start all processes again with --resume"
        ) from error


def is_first_process() -> bool:
    """Whether this process may print and write; True where there is only one."""
    return int(os.environ.get("RANK", "0")) == 0 if under_torchrun() else True


def under_torchrun() -> bool:
    """Whether ``torchrun`` started this process together with others."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ) and int(os.environ["WORLD_SIZE"]) > 1


def processes(device: torch.device) -> ProcessGroup:
    """The group of this run. Joined once a process and left at its end."""
    if not under_torchrun():
        return OneProcess()
    if not distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        with _lost_process():
            distributed.init_process_group(backend, timeout=PATIENCE)
        atexit.register(distributed.destroy_process_group)
    return TorchProcesses(device)
