"""The plain and the chunks form in several processes, here threads: one mechanism gets every row, once, in a known order."""

import copy
import itertools
import queue
import threading
from typing import Any

import pytest
import torch
from torch import Tensor

import harness
from dpaudit.contract import Form
from harness.augmentation import Augmenter
from harness.datasets import Dataset
from harness.form_parts import FormParts, Released
from harness.forms import build_form
from harness.logical_batch import LogicalBatch
from harness.models import build_model
from harness.per_sample import LayerGradients
from harness.process_group import OneProcess, ProcessGroup
from harness.recipe import Recipe

PIECE = 4


class Threads:
    """Three threads that exchange tensors as processes do; a copy is sent, never the memory itself."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.to_first = [queue.Queue[list[Tensor]]() for _ in range(size)]
        self.from_first = [queue.Queue[list[Tensor]]() for _ in range(size)]
        self.counts: list[list[int]] = [[] for _ in range(size)]
        self.barrier = threading.Barrier(size)

    def member(self, rank: int) -> "Member":
        return Member(self, rank)


class Member:
    def __init__(self, threads: Threads, rank: int) -> None:
        self._threads, self.rank, self.size = threads, rank, threads.size

    def sum_to_first(self, tensors: list[Tensor]) -> None:
        raise AssertionError("only the weights form has sums")

    def send_from_first(self, tensors: list[Tensor]) -> None:
        if self.rank == 0:
            for line in self._threads.from_first[1:]:
                line.put([value.clone() for value in tensors])
            return
        for target, value in zip(tensors, self._threads.from_first[self.rank].get(timeout=20), strict=True):
            target.copy_(value)

    def send_to_first(self, tensors: list[Tensor]) -> None:
        assert self.rank > 0
        self._threads.to_first[self.rank].put([value.clone() for value in tensors])

    def receive(self, tensors: list[Tensor], *, rank: int) -> None:
        assert self.rank == 0
        for target, value in zip(tensors, self._threads.to_first[rank].get(timeout=20), strict=True):
            assert target.is_contiguous()
            assert target.shape == value.shape
            target.copy_(value)

    def total(self, counts: list[int]) -> list[int]:
        self._threads.counts[self.rank] = counts
        self._threads.barrier.wait(timeout=20)
        sums = [sum(column) for column in zip(*self._threads.counts, strict=True)]
        self._threads.barrier.wait(timeout=20)
        return sums

    def gather(self, value: object) -> list[object]:
        raise AssertionError("not needed in a step")


class Watched:
    """Keeps a copy of what it is given; releases sums in a layout that no transport could send as it is."""

    def __init__(self) -> None:
        self.calls: list[list[Tensor]] = []

    def clip_and_noise(self, per_sample_grads: list[Tensor], step: int, epoch: int) -> list[Tensor]:
        self.calls.append([value.clone() for value in per_sample_grads])
        return self._sums()

    def begin_step(self, step: int, epoch: int) -> None:
        assert not self.calls

    def accumulate(self, per_sample_grads: list[Tensor]) -> None:
        self.calls.append([value.clone() for value in per_sample_grads])

    def finalize(self) -> list[Tensor]:
        return self._sums()

    def rows(self) -> list[Tensor]:
        return [torch.cat(column) for column in zip(*self.calls, strict=True)]

    def _sums(self) -> list[Tensor]:
        sums = [value.sum(0) for value in self.rows()]
        return [value.t().contiguous().t() if value.dim() == 2 else value for value in sums]


@pytest.fixture(scope="module")
def data() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(17, (40, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (40,), generator=generator)
    ones = torch.ones(1, 1, 1, 1)
    return Dataset(
        title="random",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
        mean=0.3 * ones,
        std=0.4 * ones,
        maximum=16.0,
    )


NETWORK = build_model("DigitsNet", seed=1)  # before any thread starts: torch's seed belongs to the whole process


def release(form: Form, group: ProcessGroup, indices: list[int], data: Dataset) -> tuple[Released, Watched]:
    """One step of one process, with a network of its own."""
    mechanism: Any = Watched()
    model = copy.deepcopy(NETWORK)
    parts = FormParts(
        mechanism=mechanism,
        model=model,
        gradients=LayerGradients(model, chunk=PIECE),
        config=harness.run_config("digits", noise_multiplier=1.0),
        file="watched.py",
        group=group,
    )
    batch = LogicalBatch(
        data=data,
        indices=torch.tensor(indices, dtype=torch.int64),
        rows=len(indices),
        augmenter=Augmenter(Recipe(), seed=0),
        drawn=None,
        views=1,
    )
    return build_form(form, parts).release(batch, step=0, epoch=0), mechanism


def in_turns(drawn: list[list[int]]) -> list[int]:
    """Everybody's first piece, everybody's second, and so on."""
    longest = max(map(len, drawn))
    return [row for start in range(0, longest, PIECE) for shard in drawn for row in shard[start : start + PIECE]]


@pytest.mark.parametrize("form", [Form.PLAIN, Form.CHUNKS])
@pytest.mark.parametrize(
    "drawn",
    [
        [[0, 3, 9, 12, 15], [1, 4, 7, 10, 13, 16, 19, 22, 25], [2]],
        [[], [1, 4, 7, 10, 13], []],
        [[0, 3, 6, 9, 12, 15, 18, 21, 24], [], [5, 8]],
        [[], [], []],
    ],
    ids=["uneven", "only the second", "none in the second", "empty"],
)
def test_one_mechanism_gets_every_row_once(form: Form, drawn: list[list[int]], data: Dataset) -> None:
    threads = Threads(3)
    found: dict[int, tuple[Released, Watched] | BaseException] = {}

    def work(rank: int) -> None:
        try:
            found[rank] = release(form, threads.member(rank), drawn[rank], data)
        except BaseException as error:
            found[rank] = error
            threads.barrier.abort()

    running = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(3)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(timeout=60)
    results = [found[rank] for rank in range(3)]
    assert all(isinstance(result, tuple) for result in results), results
    released = [result[0] for result in results if isinstance(result, tuple)]
    mechanisms = [result[1] for result in results if isinstance(result, tuple)]
    assert [bool(mechanism.calls) for mechanism in mechanisms] == [True, False, False]
    order = [*itertools.chain(*drawn)] if form is Form.PLAIN else in_turns(drawn)
    alone, expected = release(form, OneProcess(), order, data)
    torch.testing.assert_close(mechanisms[0].rows(), expected.rows(), rtol=1e-4, atol=1e-6)
    assert len(mechanisms[0].rows()[0]) == len(order)
    for everywhere in released:
        torch.testing.assert_close(everywhere.gradients, alone.gradients, rtol=1e-4, atol=1e-5)
        assert all(map(torch.equal, everywhere.gradients, released[0].gradients))
    largest = max(len(call[0]) for call in mechanisms[0].calls)
    assert largest == len(order) if form is Form.PLAIN else largest <= PIECE


@pytest.mark.parametrize("form", [Form.PLAIN, Form.CHUNKS])
def test_every_process_counts_its_own_rows_that_are_not_finite(form: Form, data: Dataset) -> None:
    """A guarded row is zero before it is sent."""
    threads = Threads(2)
    found: dict[int, tuple[Released, Watched]] = {}
    broken = Dataset(
        **{name: getattr(data, name) for name in Dataset.__slots__}
        | {"train_images": torch.where(torch.arange(40)[:, None] == 5, torch.nan, 1.0).repeat(1, 64).view(40, 1, 8, 8)}
    )

    def work(rank: int) -> None:
        found[rank] = release(form, threads.member(rank), [[0, 2], [1, 5, 7]][rank], broken)

    running = [threading.Thread(target=work, args=(rank,), daemon=True) for rank in range(2)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(timeout=60)
    assert [int(found[rank][0].nonfinite) for rank in range(2)] == [0, 1]
    rows = found[0][1].rows()
    assert all(bool(value.isfinite().all()) for value in rows)
    order = [0, 2, 1, 5, 7]
    assert all(not value[order.index(5)].any() for value in rows)
