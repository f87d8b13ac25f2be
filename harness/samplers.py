"""Samplers: which rows of the training set a step sees. Each owns its generator and can be saved and restored.

A sampler draws on the CPU, so that a run on another device sees the same batches.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dpaudit.contract import RunConfig, Sampler, UsageError

from .process_group import ProcessGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """One batch.

    Attributes:
        indices: distinct row numbers of the training set, int64 on the CPU.
        sampled: how many examples the sampler drew; more than ``len(indices)`` if a cap dropped some.
    """

    indices: Tensor
    sampled: int

    @property
    def truncated(self) -> int:
        """Drawn examples that the cap dropped."""
        return self.sampled - len(self.indices)


class BatchSampler(Protocol):
    """Draws one batch a step."""

    def draw(self) -> Draw:
        """The next step's batch."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Everything that the following draws depend on."""
        ...

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly from a saved state."""
        ...


class PoissonSampler:
    """Every example independently with the same probability; at most ``cap`` of them, if there is one.

    If more than ``cap`` examples are drawn, a uniformly random subset of ``cap`` of them stays.
    """

    def __init__(self, *, dataset_size: int, probability: float, cap: int | None, seed: int) -> None:
        self._size = dataset_size
        self._probability = probability
        self._cap = cap
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self) -> Draw:
        """The next step's batch; it may be empty."""
        # Double precision: a float32 uniform has 2**-24 steps, which would shift the probability in the seventh digit.
        uniform = torch.rand(self._size, generator=self._generator, dtype=torch.float64)
        indices = torch.nonzero(uniform < self._probability).flatten()
        sampled = len(indices)
        if self._cap is not None and sampled > self._cap:
            order = torch.randperm(sampled, generator=self._generator)
            indices = indices[order[: self._cap]]
        return Draw(indices=indices, sampled=sampled)

    def state(self) -> dict[str, Tensor]:
        """Everything that the following draws depend on."""
        return {"generator": self._generator.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly from a saved state."""
        self._generator.set_state(state["generator"])


class FixedSizeSampler:
    """``batch_size`` distinct examples, drawn afresh and uniformly at every step."""

    def __init__(self, *, dataset_size: int, batch_size: int, seed: int) -> None:
        self._size = dataset_size
        self._batch_size = batch_size
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self) -> Draw:
        """The next step's batch."""
        indices = torch.randperm(self._size, generator=self._generator)[: self._batch_size]
        return Draw(indices=indices, sampled=len(indices))

    def state(self) -> dict[str, Tensor]:
        """Everything that the following draws depend on."""
        return {"generator": self._generator.get_state()}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly from a saved state."""
        self._generator.set_state(state["generator"])


class ShuffleSampler:
    """A fresh permutation each epoch, cut into full batches: every example at most once an epoch."""

    def __init__(self, *, dataset_size: int, batch_size: int, steps_per_epoch: int, seed: int) -> None:
        self._size = dataset_size
        self._batch_size = batch_size
        self._steps = steps_per_epoch
        self._generator = torch.Generator().manual_seed(seed)
        self._order = torch.empty(0, dtype=torch.int64)
        self._position = steps_per_epoch

    def draw(self) -> Draw:
        """The next step's batch, always ``batch_size`` rows."""
        if self._position == self._steps:
            self._order = torch.randperm(self._size, generator=self._generator)
            self._position = 0
        start = self._position * self._batch_size
        self._position += 1
        return Draw(indices=self._order[start : start + self._batch_size], sampled=self._batch_size)

    def state(self) -> dict[str, Tensor]:
        """Everything that the following draws depend on."""
        return {
            "generator": self._generator.get_state(),
            "order": self._order.clone(),
            "position": torch.tensor(self._position),
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly from a saved state."""
        self._generator.set_state(state["generator"])
        self._order = state["order"].clone()
        self._position = int(state["position"])


class ShardSampler:
    """One process's part of a Poisson sample: its shard's examples, each with the same probability as everywhere.

    Process r of W has the examples r, r + W, r + 2 W, ...; inclusions are independent within and between shards, so all
    processes together draw a Poisson sample of the whole set.
    """

    def __init__(self, *, dataset_size: int, probability: float, rank: int, processes: int, seed: int) -> None:
        self._rank, self._processes = rank, processes
        size = len(range(rank, dataset_size, processes))
        self._inner = PoissonSampler(dataset_size=size, probability=probability, cap=None, seed=seed)

    def draw(self) -> Draw:
        """This process's rows of the next step's batch."""
        inner = self._inner.draw()
        return Draw(indices=inner.indices * self._processes + self._rank, sampled=inner.sampled)

    def state(self) -> dict[str, Tensor]:
        """Everything that the following draws depend on."""
        return self._inner.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly from a saved state."""
        self._inner.restore(state)


def build_sampler(config: RunConfig, *, seed: int, group: ProcessGroup | None = None) -> BatchSampler:
    """The sampler that ``config`` declares; with several processes, this one's share (``poisson`` only)."""
    size, batch = config.dataset_size, config.batch_size
    if group is not None and group.size > 1:
        if config.cell.sampler is not Sampler.POISSON:
            raise UsageError(f"distributed: expected the sampler poisson, got {config.cell.sampler}")
        probability = config.sampling_probability
        return ShardSampler(
            dataset_size=size, probability=probability, rank=group.rank, processes=group.size, seed=seed
        )
    match config.cell.sampler:
        case Sampler.POISSON:
            return PoissonSampler(dataset_size=size, probability=config.sampling_probability, cap=None, seed=seed)
        case Sampler.TRUNCATED_POISSON:
            return PoissonSampler(dataset_size=size, probability=config.sampling_probability, cap=batch, seed=seed)
        case Sampler.FIXED_SIZE:
            return FixedSizeSampler(dataset_size=size, batch_size=batch, seed=seed)
        case Sampler.SHUFFLE:
            return ShuffleSampler(
                dataset_size=size, batch_size=batch, steps_per_epoch=config.steps_per_epoch, seed=seed
            )
