"""The batches of one game: rows, directions, and the sampler's coins. Used in the worker."""

import math

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import Relation, Rows, Sampler

from .game import Run, Setup, directions


class Batches:
    """Batches of one run at small shapes.

    The canary points along a direction that is spread over all tensors equally; the other rows along an orthogonal
    one (where there are two coordinates or more). ``frame`` has both as columns.
    """

    def __init__(self, run: Run, shapes: tuple[tuple[int, ...], ...]) -> None:
        self.run = run
        self.shapes = shapes
        self.sizes = [math.prod(shape) for shape in shapes]
        canary, other = (torch.from_numpy(direction) for direction in directions(shapes))
        self.canary = self._tensors(canary)
        self.other = self._tensors(other)
        self.frame = torch.stack([canary, other], dim=1)
        self.most = max(run.batch_size, round(run.expected_batch + 12 * math.sqrt(run.expected_batch) + 12)) + 1

    def _tensors(self, direction: Tensor) -> list[Tensor]:
        flat = direction.to(torch.float32)
        return [part.reshape(shape) for part, shape in zip(torch.split(flat, self.sizes), self.shapes, strict=True)]

    def stock(self, norm: float, *, facing: bool) -> list[Tensor]:
        """As many other rows as any batch can hold, at one norm (multiples of C); see :attr:`Setup.facing`."""
        scale = norm * self.run.max_grad_norm * (-1.0 if facing else 1.0)
        direction = self.canary if facing else self.other
        return [(part * scale).expand(self.most, *part.shape).contiguous() for part in direction]

    def batch(self, stock: list[Tensor], *, others: int, setup: Setup, world: int, present: bool) -> list[Tensor]:
        """The rows of one batch: ``others`` rows of the stock, and the canary last where it is present in this world.

        An absent canary leaves no row (add_remove with sampled rows) or a row of zeros; under replace_one its
        stand-in points the other way. Constant rows are filled up with zeros. The tensors may share memory with the
        stock: the caller clones before the candidate sees them.
        """
        run = self.run
        sign = 0.0
        if present and world == 1:
            sign = 1.0
        elif present and run.relation is Relation.REPLACE_ONE:
            sign = -1.0
        constant = run.rows is Rows.CONSTANT
        kept = present and (world == 1 or run.relation is not Relation.ADD_REMOVE)
        if not constant and not kept:
            return [base[:others] for base in stock]
        rows = run.batch_size if constant else others + 1
        zeros = rows - others if constant else 1
        if constant and zeros == 0:
            return [base[:rows] for base in stock]
        scale = sign * setup.canary_norm * run.max_grad_norm
        made = []
        for base, row in zip(stock, self.canary, strict=True):
            tail = torch.zeros(zeros, *row.shape)
            tail[-1] = row * scale
            made.append(torch.cat([base[:others], tail]))
        return made

    def draw(self, setup: Setup, generator: np.random.Generator) -> list[tuple[int, bool]]:
        """(other rows, canary present) for every step of a trial."""
        run = self.run
        if not setup.sampled:
            others = (run.batch_size if run.rows is Rows.CONSTANT else round(run.expected_batch)) - 1
            return [(max(0, others), step == 0) for step in range(setup.steps)]
        q = run.expected_batch / run.dataset_size
        match run.sampler:
            case Sampler.POISSON | Sampler.TRUNCATED_POISSON:
                coins = generator.random(setup.steps) < q
                counts = np.minimum(generator.binomial(run.dataset_size - 1, q, setup.steps), self.most - 1)
                if run.sampler is Sampler.TRUNCATED_POISSON:
                    coins &= generator.random(setup.steps) < run.batch_size / np.maximum(counts + 1, run.batch_size)
                    counts = np.minimum(counts, run.batch_size - coins)
                return [(int(count), bool(coin)) for count, coin in zip(counts, coins, strict=True)]
            case Sampler.FIXED_SIZE:
                coins = generator.random(setup.steps) < run.batch_size / run.dataset_size
                return [(run.batch_size - 1, bool(coin)) for coin in coins]
            case Sampler.SHUFFLE:
                return [(run.batch_size - present, present) for present in self._shuffled(setup, generator)]

    def _shuffled(self, setup: Setup, generator: np.random.Generator) -> list[bool]:
        """One uniformly random place in each epoch, which may fall behind the last full batch.

        The place is the canary's in both worlds: where there is no canary, nothing stands there, and every other batch is
        full. (Shuffling the other rows alone would leave the gap at the end of the epoch, where it shows even better.)
        """
        run = self.run
        present = [False] * setup.steps
        for start in range(0, setup.steps, run.steps_per_epoch):
            place = start + int(generator.integers(run.dataset_size)) // run.batch_size
            if place < min(start + run.steps_per_epoch, setup.steps):
                present[place] = True
        return present
