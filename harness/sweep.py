"""A grid of settings, each trained on the training set without a validation split and tested on that split.

What a search costs. Every trial trains on the same examples, so an example of the training part is exposed to all of them
(:func:`spent_on_trials`). An example of the validation part is exposed to the choice alone: it costs nothing that anyone
can bound if the best is simply taken, and ``epsilon`` if it is taken by :func:`private_choice`.
"""

import dataclasses
import itertools
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import EventTrace, RunConfig, UsageError

from .presets import preset
from .recipe import Optimiser, RateSchedule, Recipe
from .run_settings import run_config

_OF_CONFIG = {"batch_size": int, "max_grad_norm": float, "epochs": int}
_OF_RECIPE = {
    "optimiser": Optimiser,
    "schedule": RateSchedule,
    "learning_rate": float,
    "momentum": float,
    "weight_decay": float,
    "final_rate": float,
    "average_decay": float,
    "dropout": float,
    "warmup_steps": int,
    "views": int,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One combination of settings."""

    settings: tuple[tuple[str, str], ...]
    config: RunConfig
    recipe: Recipe

    @property
    def name(self) -> str:
        """For folders and tables."""
        return ",".join(f"{key}={value}" for key, value in self.settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Upper bound on what all trials together cost an example that all of them trained on."""

    epsilon: float
    delta: float
    method: str


def grid_points(preset_name: str, grid: Mapping[str, Sequence[str]], *, recipe: Recipe, hold_out: int) -> list[Point]:
    """Every combination, each with sigma calibrated for itself.

    Raises:
        UsageError: an unknown setting, a value of the wrong type or out of range, or an empty grid.
    """
    if not grid or not all(grid.values()):
        raise UsageError("sweep: expected at least one setting with values, as in --grid learning_rate=0.05,0.1")
    points = []
    for values in itertools.product(*grid.values()):
        settings = tuple(zip(grid, values, strict=True))
        typed = {name: _typed(name, value) for name, value in settings}
        of_config = {name: value for name, value in typed.items() if name in _OF_CONFIG}
        of_recipe = {name: value for name, value in typed.items() if name in _OF_RECIPE}
        points.append(
            Point(
                settings=settings,
                config=run_config(preset(preset_name), hold_out=hold_out, **of_config),  # type: ignore[arg-type]
                recipe=dataclasses.replace(recipe, **of_recipe),  # type: ignore[arg-type]
            )
        )
    return points


def _typed(name: str, value: str) -> object:
    known = {**_OF_CONFIG, **_OF_RECIPE}
    if name not in known:
        raise UsageError(f"sweep: expected a setting among {', '.join(known)}, got {name!r}")
    try:
        return known[name](value)
    except ValueError:
        raise UsageError(f"sweep: {name}: got {value!r}, which is no {known[name].__name__}") from None


def spent_on_trials(configs: Sequence[RunConfig]) -> Spent:
    """What training once under every configuration costs an example that all of them used.

    Trials of one cell and sampling probability are composed step by step, every trial's releases before training beside
    them; different ones by adding epsilon and delta.
    Assumption: every step has the noise multiplier of its configuration, which ``dpaudit gate`` decides.
    """
    groups: dict[tuple[object, ...], list[RunConfig]] = {}
    for config in configs:
        key = (config.cell, config.sampling_probability, config.batch_size, config.dataset_size, config.steps_per_epoch)
        groups.setdefault(key, []).append(config)
    epsilon = 0.0
    for group in groups.values():
        first = group[0]
        trace = EventTrace(
            cell=first.cell,
            sampling_probability=first.sampling_probability,
            sigmas=tuple(itertools.chain(*((c.noise_multiplier,) * c.total_steps for c in group))),
            steps_per_epoch=first.steps_per_epoch,
            batch_size=first.batch_size,
            dataset_size=first.dataset_size,
            preparation=tuple(itertools.chain(*(c.preparation for c in group))),
        )
        upper = epsilon_bracket(trace, first.target_delta).upper
        epsilon += math.inf if upper is None else upper
    method = "privacy loss distributions" if len(groups) == 1 else f"sum over {len(groups)} sampling settings"
    return Spent(epsilon=epsilon, delta=len(groups) * max(c.target_delta for c in configs), method=method)


def private_choice(correct: Sequence[float], *, epsilon: float) -> int:
    """The index of a large count, chosen by the exponential mechanism.

    Guarantee: epsilon-DP for the validation part under every relation, because one example moves every count by at most 1
    (counts are means over seeds of correctly classified examples): P[i] proportional to exp(epsilon count_i / 2).
    Source: McSherry & Talwar 2007, Theorem 6. Entropy comes from the operating system; a choice must be kept, not redrawn.

    Raises:
        UsageError: epsilon is not positive and finite.
    """
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise UsageError(f"sweep: expected an epsilon > 0 for the choice, got {epsilon!r}")
    gumbel = np.random.default_rng(secrets.randbits(128)).gumbel(size=len(correct))
    return int(np.argmax(epsilon / 2 * np.asarray(correct, dtype=np.float64) + gumbel))
