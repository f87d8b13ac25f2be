"""Hypothesis strategies: hostile gradients and run configurations."""

from collections.abc import Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from dpaudit.properties.batches import CONTENTS, Beside, Geometry
from dpaudit.properties.gradients import RowPattern, gradient_rows, row_of, row_patterns

SHAPES = ((2, 2), (3,), (1, 2), (2,))
"""Parameter shapes of a model that is small enough to search."""


@st.composite
def per_sample_gradients(
    draw: Any,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    *,
    max_rows: int = 6,
    max_grad_norm: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> list[Tensor]:
    """Strategy: a batch as a mechanism gets it, 0 to ``max_rows`` rows, the last of them hostile (finite)."""
    rows = draw(st.integers(0, max_rows))
    geometry = Geometry(tuple(shapes), max_grad_norm, Relation.ADD_REMOVE, Rows.SAMPLED, max(1, rows))
    if not rows:
        return geometry.tensors(torch.zeros(0, sum(geometry.sizes)), dtype)
    beside = Beside(content=draw(st.sampled_from(CONTENTS)), count=rows - 1)
    row = row_of(draw(row_patterns(len(shapes))), geometry.sizes, max_grad_norm, dtype)
    return geometry.tensors(geometry.with_row(beside, row), dtype)


@st.composite
def run_configs(draw: Any, shapes: Sequence[tuple[int, ...]] = SHAPES) -> RunConfig:
    """Strategy: a run configuration in a cell that has a valid accounting, small enough to walk through."""
    sampled = Cell(relation=draw(st.sampled_from([Relation.ADD_REMOVE, Relation.ZERO_OUT])))
    constant = Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    cell = draw(st.sampled_from([sampled, constant]))
    batch = draw(st.sampled_from([8, 2, 32, 256]))
    return RunConfig(
        dataset_size=draw(st.sampled_from([1000, 60000])),
        batch_size=batch,
        expected_batch=batch if cell.rows is Rows.SAMPLED else max(1.0, 0.7 * batch),
        epochs=draw(st.integers(1, 3)),
        steps_per_epoch=draw(st.integers(1, 5)),
        max_grad_norm=draw(st.sampled_from([1.0, 0.1, 8.0])),
        target_epsilon=draw(st.sampled_from([3.0, 1.0, 8.0])),
        target_delta=1e-5,
        noise_multiplier=draw(st.sampled_from([1.0, 0.65, 4.0])),
        cell=cell,
        parameter_shapes=tuple(shapes),
        name="generated",
    )


__all__ = ["SHAPES", "RowPattern", "gradient_rows", "per_sample_gradients", "row_patterns", "run_configs"]
