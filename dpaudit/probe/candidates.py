"""Neighbouring batches: base rows, and the one row in which the neighbours differ.

The base rows mix random gradients of many norms with large ones that all point one way, so that thresholds move and
averages of releases grow. The differing row (the canary) may choose its gradient afresh at every step, from public
values only (a seed, the step, earlier releases): that is still ONE pair of neighbouring data sets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpaudit.contract import Relation, Rows

HUGE = 1e6
_GRID = (1e-3, 0.1, 0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 100.0)
_BANK = 5


def shrink(shape: tuple[int, ...], limit: int = 4) -> tuple[int, ...]:
    """The same rank with at most ``limit`` elements, no dimension over 2 (a vector: up to 3)."""
    if len(shape) == 1:
        return (min(shape[0], 3),)
    sizes: list[int] = []
    for size in shape:
        sizes.append(max(1, min(size, 2, limit // max(1, math.prod(sizes)))))
    return tuple(sizes)


@dataclass(frozen=True, slots=True)
class Canary:
    """How the differing row is built: a direction by name and a norm in multiples of C (dimensionless)."""

    direction: str
    norm: float

    def __str__(self) -> str:
        return f"norm {self.norm:g} C, {self.direction}"


class Neighbours:
    """Pairs of batches for one set of shapes.

    Args:
        shapes: of the parameters.
        rows: B where rows are constant, else how many rows the smaller batch holds.
        cell_rows, relation: the cell's.
        max_grad_norm: C.
        dtype: of the gradients.
        seed: of every direction and base row.
        bank: how many base batches take turns.
        quiet: the base rows are all zero; a canary is then alone in its batch.
    """

    def __init__(
        self,
        shapes: Sequence[tuple[int, ...]],
        *,
        rows: int,
        cell_rows: Rows,
        relation: Relation,
        max_grad_norm: float,
        dtype: torch.dtype,
        seed: int,
        bank: int = _BANK,
        quiet: bool = False,
    ) -> None:
        self.shapes = tuple(shapes)
        self.sizes = [math.prod(shape) for shape in shapes]
        self.relation = relation
        self.bound = max_grad_norm
        self.dtype = dtype
        self.constant = cell_rows is Rows.CONSTANT
        self.grows = cell_rows is Rows.SAMPLED and relation is Relation.ADD_REMOVE
        generator = torch.Generator().manual_seed(seed)
        self._directions = self._fixed_directions(generator)
        self.slot = rows // 2 if not self.grows else rows
        self.quiet = quiet
        self._bank = [self._base_rows(rows, generator) for _ in range(bank)]
        self._average: Tensor | None = None

    def base(self, step: int) -> list[Tensor]:
        """The batch without the canary (its row absent, or zero)."""
        return self._bank[step % len(self._bank)]

    def pair(self, step: int, canary: Canary) -> tuple[list[Tensor], list[Tensor]]:
        """The batches D and D' of a step."""
        base = self.base(step)
        row = self._direction(canary.direction) * (canary.norm * self.bound)
        other = self._with_row(base, row)
        if self.relation is Relation.REPLACE_ONE:
            return self._with_row(base, -row), other
        return base, other

    def alone(self, batch: list[Tensor]) -> list[Tensor]:
        """D or D' of a step with every other row zero."""
        out = [torch.zeros_like(tensor) for tensor in batch]
        for silent, tensor in zip(out, batch, strict=True):
            silent[self.slot : self.slot + 1] = tensor[self.slot : self.slot + 1]
        return out

    @property
    def reach(self) -> float:
        """How many contributions of one row lie between the neighbours: replacing a row by its opposite moves two."""
        return 2.0 if self.relation is Relation.REPLACE_ONE else 1.0

    def without(self, step: int) -> list[Tensor] | None:
        """The batch of a step at which the canary is not drawn, where that is neither D nor D' of the pair."""
        base = self.base(step)
        if self.relation is Relation.REPLACE_ONE:
            return base if self.constant else self._without_slot(base)
        return self._without_slot(base) if self.relation is Relation.ZERO_OUT and not self.constant else None

    def _without_slot(self, base: list[Tensor]) -> list[Tensor]:
        return [torch.cat([tensor[: self.slot], tensor[self.slot + 1 :]]) for tensor in base]

    def observe(self, release: Tensor) -> None:
        """Take a release into the running average that canaries may follow."""
        self._average = release.clone() if self._average is None else 0.9 * self._average + 0.1 * release

    def candidates(self) -> list[Canary]:
        """Canaries to try, the most general first."""
        names = [*self._directions]
        if self._average is not None and float(self._average.norm()) > 0:
            names += ["along the released average", "against the released average"]
        return [Canary(name, HUGE) for name in names] + [Canary(SPREAD, norm) for norm in _GRID]

    def grid_of(self, canary: Canary) -> list[Canary]:
        """Norms around a canary's, to refine it."""
        return [Canary(canary.direction, canary.norm * factor) for factor in (0.8, 0.9, 1.1, 1.25)]

    def row(self, canary: Canary) -> list[Tensor]:
        """The canary's gradient, one tensor for each parameter."""
        return self._parts(self._direction(canary.direction) * (canary.norm * self.bound))

    def _parts(self, row: Tensor) -> list[Tensor]:
        return [
            part.reshape(shape)
            for part, shape in zip(row.to(self.dtype).split_with_sizes(self.sizes), self.shapes, strict=True)
        ]

    def _with_row(self, base: list[Tensor], row: Tensor) -> list[Tensor]:
        parts = self._parts(row)
        if self.grows:
            return [torch.cat([tensor, part.unsqueeze(0)]) for tensor, part in zip(base, parts, strict=True)]
        out = [tensor.clone() for tensor in base]
        for tensor, part in zip(out, parts, strict=True):
            tensor[self.slot] = part
        return out

    def _direction(self, name: str) -> Tensor:
        if name in self._directions:
            return self._directions[name]
        if self._average is None or not float(self._average.norm()) > 0:
            return self._directions[SPREAD]
        sign = 1.0 if name.startswith("along") else -1.0
        direction: Tensor = sign * self._average / self._average.norm()
        return direction

    def _fixed_directions(self, generator: torch.Generator) -> dict[str, Tensor]:
        parts = [_unit(torch.randn(size, generator=generator, dtype=torch.float64)) for size in self.sizes]
        spread = torch.cat(parts) / math.sqrt(len(parts))
        total = sum(self.sizes)
        directions = {SPREAD: spread}
        directions["all coordinates equal"] = torch.full((total,), 1 / math.sqrt(total), dtype=torch.float64)
        for index in sorted({0, max(range(len(self.sizes)), key=self.sizes.__getitem__), len(self.sizes) - 1}):
            alone = [part if position == index else 0 * part for position, part in enumerate(parts)]
            directions[f"in tensor {index} alone"] = torch.cat(alone)
        one_hot = torch.zeros(total, dtype=torch.float64)
        one_hot[total // 2] = 1.0
        directions["in one coordinate"] = one_hot
        return directions

    def _base_rows(self, rows: int, generator: torch.Generator) -> list[Tensor]:
        total = sum(self.sizes)
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        flat = torch.randn(rows, total, generator=generator, dtype=dtype)
        flat /= flat.norm(dim=1, keepdim=True).clamp_min(1e-30)
        norms = torch.exp(1.2 * torch.randn(rows, 1, generator=generator, dtype=dtype))
        flat *= norms * self.bound
        flat[::2] = (self._directions[SPREAD] * (20 * self.bound)).to(dtype)
        if self.quiet:
            flat.zero_()
        if not self.grows:
            flat[self.slot] = 0
        return [
            part.reshape(rows, *shape).to(self.dtype).contiguous()
            for part, shape in zip(flat.split_with_sizes(self.sizes, dim=1), self.shapes, strict=True)
        ]


SPREAD = "spread over all tensors equally"


def _unit(vector: Tensor) -> Tensor:
    norm = float(vector.norm())
    return vector / norm if norm > 0 else vector
