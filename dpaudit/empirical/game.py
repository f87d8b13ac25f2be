"""The games that are played against a mechanism, as plain data that crosses the worker's border.

A trial is one history of the mechanism, from its constructor, in one of two worlds: the canary out (0) or in (1). The other rows
of a batch are all alike: a gradient along one fixed direction, with a public norm for every step.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import Relation, Rows, RunConfig, Sampler

Floats = NDArray[np.float64]

_LARGEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What both worlds share.

    Attributes:
        first_step: global number of the first step played.
        steps: how many steps are played.
        canary_norm: norm of the canary's gradient, in multiples of C.
        base_norms: norm of every other row at each step, in multiples of C; its last entry holds for all later steps.
        sampled: the canary takes part by the sampler's own coins at every step (a run), else at the first step only.
        wide: play at more coordinates, where a change of the noise SCALE shows.
        few: play with the two largest parameter tensors alone, which is several times faster.
        facing: the other rows point AGAINST the canary. A batch of fixed size then shows its place in both worlds: one
            row too few there, or one turned round. Nothing is added where the number of other rows is random.
    """

    first_step: int = 0
    steps: int = 1
    canary_norm: float = 1000.0
    base_norms: tuple[float, ...] = (0.0,)
    sampled: bool = False
    wide: bool = False
    few: bool = False
    facing: bool = False

    def __str__(self) -> str:
        norms = ", ".join(f"{norm:.4g}" for norm in self.base_norms[:3])
        where = "a run" if self.sampled else f"{self.steps} step(s) from step {self.first_step}"
        against = " against it" if self.facing else ""
        return f"{where}, canary of norm {self.canary_norm:g} C, other rows of norm {norms} C{against}"


def small_shapes(shapes: tuple[tuple[int, ...], ...], *, wide: bool, few: bool) -> tuple[tuple[int, ...], ...]:
    """Tensors of the same ranks with few coordinates each; ``wide``: about 200 in the largest; ``few``: two tensors."""
    if few:
        largest_two = sorted(sorted(range(len(shapes)), key=lambda index: -math.prod(shapes[index]))[:2])
        shapes = tuple(shapes[index] for index in largest_two)
    small = []
    for shape in shapes:
        sizes: list[int] = []
        for size in shape:
            room = _LARGEST // max(1, math.prod(sizes))
            sizes.append(max(1, min(size, room if len(shape) == 1 else min(2, room))))
        small.append(tuple(sizes))
    if wide and small:
        largest = max(range(len(shapes)), key=lambda index: math.prod(shapes[index]))
        if small[largest]:
            small[largest] = (*small[largest][:-1], 200)
    return tuple(small)


def directions(shapes: tuple[tuple[int, ...], ...]) -> tuple[Floats, Floats]:
    """Unit vectors: the canary's, spread over all tensors equally, and an orthogonal one for the other rows.

    With a single coordinate both are the same.
    """
    generator = np.random.default_rng(20240501)
    parts = []
    for shape in shapes:
        part = generator.standard_normal(math.prod(shape))
        parts.append(part / np.linalg.norm(part))
    canary = np.concatenate(parts) / math.sqrt(len(parts))
    other = generator.standard_normal(len(canary))
    other -= canary * (canary @ other)
    length = float(np.linalg.norm(other))
    return canary, other / length if length > 1e-9 else canary


def config_to_plain(config: RunConfig, *, drawn: Sampler | None = None) -> dict[str, Any]:
    """What the player needs to know of a run; ``drawn``: how batches are really drawn, where not as declared."""
    return {
        "max_grad_norm": config.max_grad_norm,
        "noise_multiplier": config.noise_multiplier,
        "dataset_size": config.dataset_size,
        "batch_size": config.batch_size,
        "expected_batch": config.expected_batch,
        "epochs": config.epochs,
        "steps_per_epoch": config.steps_per_epoch,
        "target_epsilon": config.target_epsilon,
        "target_delta": config.target_delta,
        "sampler": str(drawn or config.cell.sampler),
        "relation": str(config.cell.relation),
        "rows": str(config.cell.rows),
        "parameter_shapes": [list(shape) for shape in config.parameter_shapes],
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The facts of a run on the worker's side."""

    max_grad_norm: float
    noise_multiplier: float
    dataset_size: int
    batch_size: int
    expected_batch: float
    epochs: int
    steps_per_epoch: int
    target_epsilon: float
    target_delta: float
    sampler: Sampler
    relation: Relation
    rows: Rows
    parameter_shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Run":
        """The inverse of :func:`config_to_plain`."""
        words = {"sampler": Sampler, "relation": Relation, "rows": Rows}
        values: dict[str, Any] = {name: words[name](value) if name in words else value for name, value in plain.items()}
        values["parameter_shapes"] = tuple(tuple(shape) for shape in plain["parameter_shapes"])
        return cls(**values)


def setup_to_plain(setup: Setup) -> dict[str, Any]:
    """A setup as JSON."""
    return {**asdict(setup), "base_norms": list(setup.base_norms)}


def setup_from_plain(plain: dict[str, Any]) -> Setup:
    """The inverse of :func:`setup_to_plain`."""
    return Setup(**{**plain, "base_norms": tuple(plain["base_norms"])})
