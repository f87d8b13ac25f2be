"""What a mechanism costs, measured without dpaudit: noise by repetition, contributions by differences under equal noise.

A lower bound on the damage, not a proof of soundness: neighbours are drawn from a list of hostile rows. It shares no code with
the gate, so that a mutant which the gate accepts is judged by something else than the gate.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch

from dpaudit.contract import Rows, RunConfig

_REPEATS = 600
_STEPS = (0, 1, 25)
_SLOW_SECONDS = 0.02
_SLOW: dict[tuple[str, str, RunConfig], dict[str, Any]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What was measured.

    Attributes:
        noise_multiplier: smallest found; 0 if a direction moves without noise, inf if nothing moves.
        flaw: a reason to call the mechanism broken whatever the number, or an empty text.
    """

    noise_multiplier: float
    flaw: str = ""


def measured(text: str, config: RunConfig, class_name: str = "DPMechanism") -> Reading:
    """The smallest noise multiplier found at a few steps.

    ``noise_multiplier`` is 1 / sqrt(change' V^-1 change) for the variances V of single coordinates: exact for noise that is
    independent between coordinates. Correlated coordinates, or noise equal in two steps, are flaws.
    """
    smallest, flaws = math.inf, []
    for step in _STEPS:
        if step >= config.total_steps:
            continue
        released = np.stack([_released(text, class_name, config, step, seed, None) for seed in range(_REPEATS)])
        if not np.isfinite(released).all():
            return Reading(noise_multiplier=0.0, flaw="not finite")
        spread = released.std(axis=0, ddof=1)
        flaws += _correlated(released)
        for row in _hostile(config):
            for seed in (1, 2):
                change = np.abs(_released(text, class_name, config, step, seed, row) - released[seed])
                if not np.isfinite(change).all():
                    return Reading(noise_multiplier=0.0, flaw="not finite beside a hostile row")
                floor = 1e-5 * max(1.0, float(np.abs(released).max()))
                moved = change > floor
                if (spread[moved] == 0).any():
                    return Reading(noise_multiplier=0.0, flaw="a coordinate moves without noise")
                if moved.any():
                    smallest = min(smallest, float(np.sum((change[moved] / spread[moved]) ** 2) ** -0.5))
    return Reading(noise_multiplier=smallest, flaw=flaws[0] if flaws else "")


def _correlated(released: np.ndarray) -> Iterator[str]:
    live = released[:, released.std(axis=0) > 0]
    if live.shape[1] > 1:
        matrix = np.corrcoef(live.T)
        np.fill_diagonal(matrix, 0)
        if np.abs(matrix).max() > 0.3:  # eight standard errors of a correlation of independent samples
            yield "two coordinates share noise"


def _load(text: str, class_name: str) -> type:
    module = ModuleType("mutant")
    exec(compile(text, "<mutant>", "exec"), module.__dict__)
    return module.__dict__[class_name]


def _constructed(text: str, class_name: str, config: RunConfig) -> Any:
    """A fresh mechanism of a fresh module. What a slow constructor computed without drawing anything is computed once."""
    kind = _load(text, class_name)
    state = _SLOW.get((text, class_name, config))
    if state is not None:
        mechanism = kind.__new__(kind)
        mechanism.__dict__.update(copy.deepcopy(state))
        return mechanism
    before, began = (torch.random.get_rng_state(), str(np.random.get_state())), time.process_time()  # noqa: NPY002
    mechanism = kind(
        config.max_grad_norm, config.noise_multiplier, sum(math.prod(s) for s in config.parameter_shapes),
        config.dataset_size, config.batch_size, config.epochs, config.target_epsilon, config.target_delta,
    )  # fmt: skip
    same = torch.equal(torch.random.get_rng_state(), before[0]) and str(np.random.get_state()) == before[1]  # noqa: NPY002
    if same and time.process_time() - began > _SLOW_SECONDS:
        _SLOW[text, class_name, config] = copy.deepcopy(mechanism.__dict__)
    return mechanism


def _released(
    text: str, class_name: str, config: RunConfig, step: int, seed: int, row: list[torch.Tensor] | None
) -> np.ndarray:
    """The release of a step after plain earlier ones; equal seeds draw equal noise. ``row`` joins, or replaces an absent one."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what mechanisms use
    mechanism = _constructed(text, class_name, config)
    start = max(0, step - 2)
    state = torch.random.get_rng_state()
    for earlier in range(start, step):
        torch.manual_seed(1000 + earlier)
        np.random.seed(1000 + earlier)  # noqa: NPY002
        mechanism.clip_and_noise(_batch(config, earlier, None), earlier, earlier // config.steps_per_epoch)
    torch.random.set_rng_state(state)
    torch.manual_seed(seed + 77_777)
    np.random.seed(seed + 77_777)  # noqa: NPY002
    out = mechanism.clip_and_noise(_batch(config, step, row), step, step // config.steps_per_epoch)
    return np.concatenate([np.asarray(part.detach(), dtype=np.float64).ravel() for part in out])


def _batch(config: RunConfig, step: int, row: list[torch.Tensor] | None) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(10_000 + step)
    rows = 5
    batch = [torch.randn(rows, *shape, generator=generator) * 0.3 for shape in config.parameter_shapes]
    if config.cell.rows is Rows.CONSTANT:
        empty = [torch.zeros(config.batch_size - rows, *shape) for shape in config.parameter_shapes]
        if row is not None:
            for absent, part in zip(empty, row, strict=True):
                absent[0] = part
        return [torch.cat(parts) for parts in zip(batch, empty, strict=True)]
    if row is None:
        return batch
    return [torch.cat([present, part[None]]) for present, part in zip(batch, row, strict=True)]


def _hostile(config: RunConfig) -> Iterator[list[torch.Tensor]]:
    shapes = config.parameter_shapes
    for scale in (1e-20, 0.5, 1.0, 30.0, 1e4):
        generator = torch.Generator().manual_seed(3)
        yield [scale * torch.randn(shape, generator=generator) for shape in shapes]
        yield [scale * torch.ones(shape) for shape in shapes]
        yield [-scale * torch.ones(shape) for shape in shapes]
    for block in range(len(shapes)):
        for scale in (0.9, 1e3):
            row = [torch.zeros(shape) for shape in shapes]
            row[block].view(-1)[0] = scale
            yield row
            row = [torch.zeros(shape) for shape in shapes]
            row[block].fill_(scale)
            yield row
    for k in (1.0, -1.0):
        aligned = [part.sum(0) for part in _batch(config, 0, None)]
        yield [50 * k * part for part in aligned]
