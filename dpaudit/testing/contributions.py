"""One row's contribution against the noise, measured in the calling process without a tape.

Works on any object with ``clip_and_noise``: two copies of it are called on neighbouring batches with the same seeds, so the
noise cancels in the difference; its scale comes from repeated calls on one batch.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .loading import same_noise

_SEED = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one row does.

    Attributes:
        change: change of the release, flat, float64.
        noise_std: estimated standard deviation of the noise, per released coordinate.
        noise_multiplier: 1 / length of change over noise; ``inf`` for no change, 0 where a coordinate without noise moves.
    """

    change: Tensor
    noise_std: Tensor
    noise_multiplier: float


def contribution_of(
    mechanism: Any,
    without: Sequence[Tensor],
    with_row: Sequence[Tensor],
    *,
    step: int = 0,
    epoch: int = 1,
    calls: int = 256,
) -> Contribution:
    """Compare two neighbouring batches on copies of ``mechanism`` in its present state.

    The noise scale is estimated from ``calls`` releases: its relative error is about 1 / sqrt(2 calls) per coordinate, and
    less for the multiplier, which pools them.

    Raises:
        AssertionError: a release is not finite.
    """
    change = release_of(mechanism, with_row, 0, step, epoch) - release_of(mechanism, without, 0, step, epoch)
    std = noise_std(mechanism, without, calls=calls, step=step, epoch=epoch)
    if not bool(torch.isfinite(change).all()):
        raise AssertionError("the release is not finite on one of the two batches")
    moved = change.abs() > 1e-6 * max(float(change.abs().max()), 1e-300)
    if not bool(moved.any()):
        return Contribution(change=change, noise_std=std, noise_multiplier=math.inf)
    if bool((std[moved] == 0).any()):
        return Contribution(change=change, noise_std=std, noise_multiplier=0.0)
    return Contribution(change=change, noise_std=std, noise_multiplier=1 / float((change[moved] / std[moved]).norm()))


def noise_std(mechanism: Any, rows: Sequence[Tensor], *, calls: int, step: int = 0, epoch: int = 1) -> Tensor:
    """Standard deviation of each released coordinate over freshly seeded calls on one batch."""
    if calls < 2:
        raise ValueError(f"noise_std: expected at least 2 calls, got {calls}")
    releases = [release_of(mechanism, rows, _SEED + call, step, epoch) for call in range(calls)]
    return torch.stack(releases).std(dim=0)


def release_of(mechanism: Any, rows: Sequence[Tensor], seed: int, step: int = 0, epoch: int = 1) -> Tensor:
    """The release of a copy of the mechanism, flat, float64; the global generators are seeded and put back."""
    with same_noise(seed):
        released = copy.deepcopy(mechanism).clip_and_noise([tensor.clone() for tensor in rows], step, epoch)
    return torch.cat([tensor.detach().to(torch.float64).reshape(-1) for tensor in released])


def warmed_up(factory: Callable[[], Any], batch: Sequence[Tensor], steps: int) -> Any:
    """A mechanism after so many real steps on one batch."""
    mechanism = factory()
    for step in range(steps):
        mechanism.clip_and_noise([tensor.clone() for tensor in batch], step, 1)
    return mechanism
