"""Games that checks of peers play with a mechanism, on rows as the interface promises them.

Every check sees a specimen through :class:`Watched`. It hands over what the run of the specimen would: float tensors
``[rows, *shape]`` of their own storage, steps in order from 0 on a fresh mechanism, always B rows where the run has constant
rows, and an empty batch only where Poisson sampling drew one. What the specimen raises on that is a :class:`MechanismRaised`;
everything else that is raised is a fault of the check or of its game.
"""

import importlib.util
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from dpaudit.contract import Relation, Rows, RunConfig

from .configs import SHAPES
from .run import FOLDER, Specimen

WIDTH = sum(math.prod(shape) for shape in SHAPES)
CANARIES = 200
GAMES = 300
QUIET = 1e-6
"""Noise multiplier that stands for none: the interface promises a positive one."""


class MechanismRaised(Exception):
    """The specimen's own code raised, or returned no tensors, on rows that the interface promises."""


class UnfairGame(Exception):
    """A game wanted to hand over what the interface does not promise."""


class Watched:
    """One mechanism, called as its run would call it."""

    def __init__(self, build: Callable[[], Any], run: RunConfig) -> None:
        self.run = run
        self._next = 0
        try:
            self._mechanism = build()
        except Exception as error:
            raise MechanismRaised(reason(error)) from error

    def release(self, rows: torch.Tensor) -> torch.Tensor:
        """The next step's release on these rows, [rows, WIDTH]; flat, [WIDTH]."""
        if rows.shape[1:] != (WIDTH,) or self.run.realised_rows not in (None, len(rows)):
            raise UnfairGame(f"{tuple(rows.shape)} rows where the run has {self.run.realised_rows or 'any number'}")
        if self._next >= self.run.total_steps:
            raise UnfairGame(f"step {self._next} of a run of {self.run.total_steps}")
        step, self._next = self._next, self._next + 1
        parts = rows.split([math.prod(shape) for shape in SHAPES], dim=1)
        handed = [part.reshape(len(rows), *shape).clone(memory_format=torch.contiguous_format)
                  for part, shape in zip(parts, SHAPES, strict=True)]  # fmt: skip
        try:
            update = self._mechanism.clip_and_noise(handed, step, self.run.epoch_of(step))
            flat = torch.cat([part.detach().reshape(-1).float() for part in update])
            if len(flat) != WIDTH:
                raise ValueError(f"released {len(flat)} numbers for {WIDTH} parameters")
        except Exception as error:
            raise MechanismRaised(reason(error)) from error
        return flat


Maker = Callable[..., Watched]
"""A fresh mechanism; ``noise_multiplier`` instead of the run's own."""


def maker(specimen: Specimen, run: RunConfig) -> Maker:
    """Load a specimen's file once."""
    found = importlib.util.spec_from_file_location("specimen", FOLDER / "mechanisms" / specimen.path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise MechanismRaised(reason(error)) from error
    return watched_maker(module.DPMechanism, run)


def watched_maker(kind: Callable[..., Any], run: RunConfig) -> Maker:
    """The same of a class that is there already."""

    def make(noise_multiplier: float = run.noise_multiplier) -> Watched:
        def build() -> Any:
            return kind(
                run.max_grad_norm, noise_multiplier, WIDTH, run.dataset_size, run.batch_size, run.epochs, run.target_epsilon,
                run.target_delta,
            )  # fmt: skip

        return Watched(build, run)

    return make


def reason(error: BaseException) -> str:
    """Kind and first line, short enough for a table."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:80].replace('|', '/')}" if text else type(error).__name__


def seed(value: int) -> None:
    """All global generators that a mechanism may draw from."""
    torch.manual_seed(value)
    np.random.seed(value)  # noqa: NPY002 - the global generator is what a specimen uses
    random.seed(value)


def zeros(run: RunConfig) -> torch.Tensor:
    """B rows without a gradient."""
    return torch.zeros(run.batch_size, WIDTH)


def ordinary(rows: int, norm: float, generator: torch.Generator) -> torch.Tensor:
    """Rows of one norm in random directions."""
    drawn = torch.randn(rows, WIDTH, generator=generator)
    return norm * drawn / drawn.norm(dim=1, keepdim=True)


def without_last(rows: torch.Tensor, run: RunConfig) -> torch.Tensor:
    """The neighbouring batch: the last row is gone, or zero where the relation or the constant number of rows says so."""
    if run.cell.relation is Relation.ADD_REMOVE and run.cell.rows is Rows.SAMPLED:
        return rows[:-1]
    return torch.cat([rows[:-1], torch.zeros(1, WIDTH)])


def step_game(make: Maker, run: RunConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinate 0 of the first release with a row on it among zero rows, and without; GAMES times each."""
    with_row = zeros(run)
    with_row[-1, 0] = 10.0
    neighbour = without_last(with_row, run)
    absent = torch.stack([make().release(neighbour)[0] for _ in range(GAMES)])
    present = torch.stack([make().release(with_row)[0] for _ in range(GAMES)])
    return present, absent


def run_game(make: Maker, run: RunConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of canaries on coordinates of their own after one run of all steps, and the coins that put them in.

    The dataset has its N examples: canaries that are in, and others, whose gradients lie on coordinates that no canary has.
    A canary that is out is no example, or one whose gradient is zero, as the relation of the run has it.
    """
    generator = torch.Generator().manual_seed(3)
    coins = torch.rand(CANARIES, generator=generator) < 0.5
    canaries = 10 * torch.eye(WIDTH)[:CANARIES]
    canaries = canaries[coins] if run.cell.relation is Relation.ADD_REMOVE else canaries * coins[:, None]
    mechanism, score = make(), torch.zeros(CANARIES)
    seed(11)
    for _ in range(run.total_steps):
        score += mechanism.release(_drawn(canaries, run, generator))[:CANARIES]
    return score, coins


def _drawn(canaries: torch.Tensor, run: RunConfig, generator: torch.Generator) -> torch.Tensor:
    """One batch: Poisson sampling of canaries and others, cut and filled up to B rows where rows are constant."""
    chosen = torch.rand(run.dataset_size, generator=generator) < run.sampling_probability
    among = canaries[chosen[: len(canaries)]]
    others = torch.zeros(int(chosen[len(canaries) :].sum()), WIDTH)
    others[:, CANARIES:] = torch.randn(len(others), WIDTH - CANARIES, generator=generator)
    rows = torch.cat([among, others])[torch.randperm(len(among) + len(others), generator=generator)]
    if run.realised_rows is None:
        return rows
    rows = rows[: run.realised_rows]
    return torch.cat([rows, torch.zeros(run.realised_rows - len(rows), WIDTH)])
