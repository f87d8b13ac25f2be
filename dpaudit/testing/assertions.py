"""Assertions about a mechanism, for a user's own tests. Each raises AssertionError with the smallest row that breaks it.

``factory`` makes a fresh mechanism: ``lambda: MyMechanism(1.0, 1.1, 14, 1000, 8, 5, 3.0, 1e-5)``.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from dpaudit.contract import Relation, Rows
from dpaudit.properties.batches import Beside, Geometry
from dpaudit.properties.gradients import RowPattern, row_of, row_patterns

from .contributions import noise_std, release_of, warmed_up
from .strategies import SHAPES

ROUNDING = 1e-3
"""Relative excess that float32 rounding explains."""

_CALLS = 2048
_ESTIMATE = 5 / (2 * _CALLS) ** 0.5
"""Five standard errors of one estimated noise scale: about 8 %."""


def assert_bounded_contribution(
    factory: Callable[[], Any],
    *,
    sigma: float,
    batch_size: int,
    noise_scale: float,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    max_grad_norm: float = 1.0,
    warm_up: int = 3,
    relation: Relation = Relation.ADD_REMOVE,
    max_examples: int = 60,
) -> None:
    """No row moves the un-noised update by more than the bound that the noise is scaled for.

    Checked: ``batch_size * |change of the update| <= noise_scale / sigma`` to a relative 1e-3, at the first step and after
    ``warm_up`` steps, for hostile rows; and that the noise of every coordinate really has about ``noise_scale`` (from 2,048
    releases, to five standard errors).

    Args:
        sigma: the noise multiplier that the mechanism claims.
        batch_size: the public divisor B.
        noise_scale: standard deviation of the noise on the SUM of contributions, e.g. ``sigma * max_grad_norm``.
        relation: ``add_remove`` appends the row; ``zero_out`` puts it in the place of a zero row.

    Raises:
        AssertionError: with the row, and by how much it exceeds.
        ValueError: ``relation`` is replace_one.
    """
    if relation is Relation.REPLACE_ONE:
        raise ValueError("assert_bounded_contribution: expected add_remove or zero_out, got replace_one")
    geometry = Geometry(tuple(shapes), max_grad_norm, relation, Rows.SAMPLED, batch_size)
    quiet = geometry.tensors(geometry.others(Beside(content="mixed", count=3)), torch.get_default_dtype())
    limit = noise_scale / sigma
    for steps in (0, warm_up):
        mechanism = warmed_up(factory, quiet, steps)
        smallest = float((batch_size * noise_std(mechanism, quiet, calls=_CALLS, step=steps)).min())
        assert smallest >= noise_scale * (1 - _ESTIMATE), (
            f"after {steps} steps: expected noise of scale {noise_scale:g} on the sum, measured {smallest:.4g} in some "
            "coordinate"
        )
        _search(geometry, mechanism, steps, limit * (1 + ROUNDING), max_examples)


def _search(geometry: Geometry, mechanism: Any, steps: int, limit: float, examples: int) -> None:
    dtype = torch.get_default_dtype()
    beside = Beside(content="zeros", count=2)

    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(row_patterns(len(geometry.sizes)))
    def holds(pattern: RowPattern) -> None:
        row = row_of(pattern, geometry.sizes, geometry.bound, dtype)
        without, with_row = (
            release_of(mechanism, geometry.tensors(flat, dtype), 0, steps)
            for flat in (geometry.without(beside, row), geometry.with_row(beside, row))
        )
        length = geometry.batch_size * float((with_row - without).norm())
        assert length <= limit, (
            f"after {steps} steps: one row ({pattern}) contributes {length:.6g}, the noise is scaled for {limit:.6g}; the "
            f"row is {[float(f'{value:.6g}') for value in row.tolist()]}"
        )

    holds()


def assert_noise_ignores_data(
    factory: Callable[[], Any], *, shapes: Sequence[tuple[int, ...]] = SHAPES, max_grad_norm: float = 1.0
) -> None:
    """The difference of two releases with different noise is the same whatever the rows are."""
    mechanism, reference = factory(), None
    for content in ("zeros", "mixed", "aligned"):
        batch = _batch(shapes, max_grad_norm, content)
        noise = release_of(mechanism, batch, 1) - release_of(mechanism, batch, 2)
        size = max(float(noise.abs().max()), float(release_of(mechanism, batch, 1).abs().max()))
        reference = noise if reference is None else reference
        assert bool(((noise - reference).abs() <= 1e-5 * size).all()), (
            f"the noise on {content} rows differs from that on zero rows by up to {float((noise - reference).abs().max()):.3g}"
        )


def assert_fresh_noise(
    factory: Callable[[], Any], *, shapes: Sequence[tuple[int, ...]] = SHAPES, max_grad_norm: float = 1.0
) -> None:
    """Noise differs between seeds, between steps, and reaches every coordinate; also on an empty batch."""
    mechanism = factory()
    for count in (3, 0):
        batch = _batch(shapes, max_grad_norm, "zeros", count)
        first, second = release_of(mechanism, batch, 1), release_of(mechanism, batch, 2)
        assert bool((first != second).all()), (
            f"with {count} rows {int((first == second).sum())} coordinates are the same under two seeds"
        )
    batch = _batch(shapes, max_grad_norm, "zeros")
    steps = [torch.cat([t.reshape(-1) for t in mechanism.clip_and_noise(batch, step, 1)]) for step in range(2)]
    assert bool((steps[0] != steps[1]).all()), "two consecutive steps release the same noise"


def assert_finite_release(
    factory: Callable[[], Any],
    *,
    nonfinite: bool = False,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    max_grad_norm: float = 1.0,
) -> None:
    """Finite rows, however large or small, give a finite update; with ``nonfinite`` also rows with a NaN or an Inf."""
    mechanism, dtype = factory(), torch.get_default_dtype()
    geometry = Geometry(tuple(shapes), max_grad_norm, Relation.ADD_REMOVE, Rows.SAMPLED, 4)
    rows = [
        (str(pattern), row_of(pattern, geometry.sizes, max_grad_norm, dtype))
        for pattern in (RowPattern(norm=norm) for norm in (0.0, 1e-42, 1e-30, 1.0, 1e12, 1e20, 1e30, 3e38))
    ]
    if nonfinite:
        for value in (float("nan"), float("inf"), -float("inf")):
            row = torch.ones(sum(geometry.sizes), dtype=dtype)
            row[len(row) // 2] = value
            rows.append((f"a row with {value}", row))
    for words, row in rows:
        batch = geometry.tensors(geometry.with_row(Beside(count=2), row), dtype)
        assert bool(torch.isfinite(release_of(mechanism, batch, 0)).all()), f"{words}: the update is not finite"


def assert_input_unchanged(
    factory: Callable[[], Any], *, shapes: Sequence[tuple[int, ...]] = SHAPES, max_grad_norm: float = 1.0
) -> None:
    """The call leaves the list and the tensors that it is given as they were."""
    batch = _batch(shapes, max_grad_norm, "mixed")
    held, copies = list(batch), [tensor.clone() for tensor in batch]
    factory().clip_and_noise(batch, 0, 1)
    same = len(batch) == len(held) and all(now is was for now, was in zip(batch, held, strict=True))
    assert same, "the list of gradients was changed"
    for index, (now, was) in enumerate(zip(held, copies, strict=True)):
        assert torch.equal(now, was), f"tensor {index} of the gradients was changed in place"


def assert_order_ignored(
    factory: Callable[[], Any], *, shapes: Sequence[tuple[int, ...]] = SHAPES, max_grad_norm: float = 1.0
) -> None:
    """The same rows in another order, with the same noise, give the same update up to rounding."""
    mechanism, batch = factory(), _batch(shapes, max_grad_norm, "mixed", 5)
    forwards = release_of(mechanism, batch, 0)
    backwards = release_of(mechanism, [tensor.flip(0) for tensor in batch], 0)
    gap = float((forwards - backwards).abs().max())
    assert gap <= 1e-5 * float(forwards.abs().max()), f"the update depends on the order of the rows, by {gap:.3g}"


def _batch(shapes: Sequence[tuple[int, ...]], bound: float, content: str, count: int = 3) -> list[Tensor]:
    geometry = Geometry(tuple(shapes), bound, Relation.ADD_REMOVE, Rows.SAMPLED, max(1, count))
    return geometry.tensors(geometry.others(Beside(content=content, count=count)), torch.get_default_dtype())
