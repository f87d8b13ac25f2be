"""Batches that differ in one row, as the cell's neighbouring relation has it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpaudit.contract import Relation, Rows, RunConfig

CONTENTS = ("zeros", "mixed", "aligned")
"""What the rows beside the differing one hold, the simplest first."""

TYPICAL_ROWS = 6
_LARGEST_BATCH = 1024
_SEED = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The rows beside the differing one: what they hold and how many they are."""

    content: str = "zeros"
    count: int = TYPICAL_ROWS

    def __str__(self) -> str:
        rows = {0: "no other row", 1: "1 other row"}.get(self.count, f"{self.count} other rows")
        return rows if self.count == 0 else f"{rows} ({self.content})"


@dataclass(frozen=True, slots=True)
class Geometry:
    """The cell's way to build two neighbouring batches at some shapes.

    ``reach`` is the number of contributions by which the neighbours differ: 2 under replace_one (the accountant's sigma is
    in units of one), else 1.
    """

    shapes: tuple[tuple[int, ...], ...]
    bound: float
    relation: Relation
    rows: Rows
    batch_size: int

    @classmethod
    def of(cls, config: RunConfig, shapes: Sequence[tuple[int, ...]]) -> "Geometry":
        """The geometry of a run at some shapes."""
        return cls(tuple(shapes), config.max_grad_norm, config.cell.relation, config.cell.rows, config.batch_size)

    @property
    def sizes(self) -> list[int]:
        """Coordinates of each tensor."""
        return [math.prod(shape) for shape in self.shapes]

    @property
    def reach(self) -> float:
        """How many contributions the two batches differ by."""
        return 2.0 if self.relation is Relation.REPLACE_ONE else 1.0

    @property
    def grows(self) -> bool:
        """Whether the neighbour has one row more."""
        return self.rows is Rows.SAMPLED and self.relation is Relation.ADD_REMOVE

    def counts(self) -> tuple[int, ...]:
        """Numbers of other rows to try, the typical one first."""
        if self.rows is Rows.CONSTANT:
            return (max(0, self.batch_size - 1),)
        return tuple(dict.fromkeys((TYPICAL_ROWS, 0, 1, 2, max(1, min(self.batch_size, _LARGEST_BATCH) - 1))))

    def others(self, beside: Beside) -> Tensor:
        """The other rows, flat: [count, coordinates], float64."""
        total = sum(self.sizes)
        match beside.content:
            case "zeros":
                return torch.zeros(beside.count, total, dtype=torch.float64)
            case "aligned":
                return torch.full((beside.count, total), 20 * self.bound / math.sqrt(total), dtype=torch.float64)
            case "mixed":
                generator = torch.Generator().manual_seed(_SEED)
                rows = torch.randn(beside.count, total, generator=generator, dtype=torch.float64)
                norms = torch.exp(1.2 * torch.randn(beside.count, 1, generator=generator, dtype=torch.float64))
                units: Tensor = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-30)
                return units * norms * self.bound
            case _:
                raise ValueError(f"batches: unknown content {beside.content!r}; known: {', '.join(CONTENTS)}")

    def without(self, beside: Beside, row: Tensor) -> Tensor:
        """The batch D: the row absent, zero, or its opposite, by the relation."""
        others = self.others(beside).to(row.dtype)
        if self.grows:
            return others
        absent = -row if self.relation is Relation.REPLACE_ONE else torch.zeros_like(row)
        return torch.cat([others, absent.unsqueeze(0)])

    def with_row(self, beside: Beside, row: Tensor) -> Tensor:
        """The batch D' that holds the row, last."""
        return torch.cat([self.others(beside).to(row.dtype), row.unsqueeze(0)])

    def tensors(self, flat: Tensor, dtype: torch.dtype) -> list[Tensor]:
        """Per-sample gradients as a mechanism gets them: one tensor [rows, *shape] for each parameter."""
        return [
            part.reshape(flat.shape[0], *shape).to(dtype).contiguous()
            for part, shape in zip(torch.split(flat, self.sizes, dim=1), self.shapes, strict=True)
        ]
