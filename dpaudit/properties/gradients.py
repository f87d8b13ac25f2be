"""Hostile gradients: rows built from a few numbers, so that a counterexample shrinks to something that a person can paste.

Notation: C the clipping bound; a row is the gradient of one sample, flat over all parameters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

KINDS = (
    "equal", "one_hot", "spread", "one_layer", "negative", "alternating", "tiny_and_huge", "all_but_one", "falling",
    "along_release", "against_release", "zero",
)  # fmt: skip
"""Directions by name, the simplest first: shrinking moves towards the front."""

NORMS = (
    10.0, 1.0, 2.0, 0.5, 1.2, 0.8, 1.5, 3.0, 0.1, 100.0, 1e3, 1e6, 1e-3, 1e-6, 1e-12, 1e-30, 1e-42, 1e12, 1e18, 1e20, 1e30,
    3e38,
)  # fmt: skip
"""Norms in multiples of C: around the bound, denormal, and up to where squares and then values overflow float32."""

EXPLICIT = "explicit"
_DIRECTION_SEED = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPattern:
    """One row by a name and a norm.

    Attributes:
        kind: a name of :data:`KINDS`; ``explicit`` takes ``values``.
        norm: Euclidean norm in multiples of C (of each tensor's part for ``spread`` and its relatives: see :func:`row_of`).
        layer: which tensor ``one_layer``, ``all_but_one``, ``tiny_and_huge`` single out (modulo their number).
        values: flat coordinates in multiples of C, for ``explicit``.
    """

    kind: str = "equal"
    norm: float = 10.0
    layer: int = 0
    values: tuple[float, ...] = ()

    def __str__(self) -> str:
        where = f", tensor {self.layer}" if self.kind in {"one_layer", "all_but_one", "tiny_and_huge"} else ""
        if self.kind == EXPLICIT:
            return "given by its coordinates" if len(self.values) > 8 else f"with coordinates {list(self.values)} C"
        return f"{self.kind.replace('_', ' ')}{where}, norm {self.norm:g} C"


def row_of(
    pattern: RowPattern, sizes: Sequence[int], bound: float, dtype: torch.dtype, *, release: Tensor | None = None
) -> Tensor:
    """The row of a pattern, flat, finite in ``dtype`` (values beyond its range are cut to it).

    ``spread``, ``all_but_one`` and ``falling`` give every tensor a part; the norm is that of the LARGEST part, so that a
    clip of each tensor by itself is reached in all of them at once. The other kinds have the norm as a whole.

    Args:
        sizes: number of coordinates of each tensor.
        bound: C.
        release: a released update, for the kinds that follow it; without one they fall back to ``spread``.
    """
    scale = pattern.norm * bound
    if pattern.kind == EXPLICIT:
        row = torch.tensor(pattern.values, dtype=torch.float64) * bound
    else:
        row = _direction(pattern, list(sizes), release) * scale
    largest = torch.finfo(dtype).max
    return row.clamp(-largest, largest).to(dtype)


def _direction(pattern: RowPattern, sizes: list[int], release: Tensor | None) -> Tensor:
    total, layer = sum(sizes), pattern.layer % len(sizes)
    ones = torch.ones(total, dtype=torch.float64) / math.sqrt(total)
    match pattern.kind:
        case "equal":
            return ones
        case "negative":
            return -ones
        case "alternating":
            return ones * (1 - 2 * (torch.arange(total) % 2))
        case "zero":
            return 0 * ones
        case "one_hot":
            direction = torch.zeros(total, dtype=torch.float64)
            direction[sum(sizes[:layer])] = 1.0
            return direction
        case "along_release" | "against_release" if release is not None and float(release.norm()) > 0:
            along: Tensor = release.to(torch.float64) / release.norm()
            return along if pattern.kind == "along_release" else -along
        case _:
            return torch.cat(
                [w * part for w, part in zip(_weights(pattern.kind, layer, sizes), _units(sizes), strict=True)]
            )


def _units(sizes: list[int]) -> list[Tensor]:
    """A fixed unit vector for each tensor."""
    generator = torch.Generator().manual_seed(_DIRECTION_SEED)
    parts = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    return [part / part.norm().clamp_min(1e-30) for part in parts]


def _weights(kind: str, layer: int, sizes: list[int]) -> list[float]:
    indices = range(len(sizes))
    match kind:
        case "one_layer":
            return [float(index == layer) for index in indices]
        case "all_but_one":
            return [float(index != layer or len(sizes) == 1) for index in indices]
        case "tiny_and_huge":
            return [1.0 if index == layer else 1e-8 for index in indices]
        case "falling":
            return [2.0**-index for index in indices]
        case _:
            return [1.0 for _ in indices]


def row_patterns(layers: int) -> st.SearchStrategy[RowPattern]:
    """Strategy: one row's pattern, for a model of so many tensors."""
    return st.builds(
        RowPattern,
        kind=st.sampled_from(KINDS),
        norm=st.sampled_from(NORMS),
        layer=st.integers(0, max(0, layers - 1)),
    )


@st.composite
def gradient_rows(
    draw: Any, sizes: Sequence[int], *, bound: float = 1.0, dtype: torch.dtype = torch.float32, nonfinite: bool = False
) -> Tensor:
    """Strategy: one flat row of a hostile pattern; with ``nonfinite`` also rows that hold a NaN or an Inf."""
    row = row_of(draw(row_patterns(len(sizes))), sizes, bound, dtype)
    if nonfinite and draw(st.booleans()):
        row = row.clone()
        row[draw(st.integers(0, len(row) - 1))] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    return row


def sweep_patterns(layers: int) -> list[RowPattern]:
    """A fixed list that every moment is tried with, before any random search."""
    singled = sorted({0, layers // 2, layers - 1})
    patterns = [
        RowPattern(kind=kind, norm=norm, layer=layer)
        for kind in KINDS
        for layer in (singled if kind in {"one_layer", "one_hot"} else singled[:1])
        for norm in (10.0, 1.0, 1e6)
        if kind != "zero"
    ]
    patterns += [RowPattern(kind="equal", norm=norm) for norm in NORMS]
    return [*dict.fromkeys([*patterns, RowPattern(kind="zero")])]
