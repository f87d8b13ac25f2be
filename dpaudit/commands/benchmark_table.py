"""``dpaudit table benchmark``: the public benchmark's rows re-scored from run directories and audits.

A row holds one mechanism, data set and setting. The claim stands beside two different brackets that must not be mixed: epsilon
as the batches were really drawn, and epsilon of the same steps under the Poisson sampling that the benchmark's formula
assumes. Published rows for which nothing was run say so.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import Cell, EventTrace

from .published import PUBLISHED_DATA_SETS, published_baselines, published_benchmark
from .run_material import (
    SPREAD,
    Group,
    Material,
    groups_of,
    name_of,
    shown_bracket,
    shown_mean,
    shown_spread,
    true_epsilon,
)

_HEADS = (
    "mechanism",
    "data set",
    "setting",
    "bound",
    "rate",
    "epochs",
    "sigma",
    "claimed epsilon",
    "true epsilon as it ran",
    "from",
    "under Poisson sampling",
    "from",
    "test accuracy %, final model",
    SPREAD,
    "seeds",
    "published %",
)


def benchmark_table(material: Material) -> list[str]:
    """One row a mechanism, data set and budget: the published claim, what it really costs, what accuracy it buys."""
    groups = sorted(groups_of(material.runs), key=_order)
    lines = ["# The public benchmark, re-scored", "", _line(_HEADS), "|" + "---|" * len(_HEADS)]
    lines += [_row(group, material) for group in groups]
    lines += _rows_not_run(groups)
    lines += [
        "",
        "`as published`: shuffled batches, the benchmark's own formula for sigma. `valid accountant`: sigma by privacy loss "
        "distributions. `sigma given`: a constant sigma that costs more than the claim. The column `under Poisson sampling` "
        "prices the same steps as if batches had been drawn as that formula assumes.",
    ]
    return lines


def _row(group: Group, material: Material) -> str:
    first, config = group.runs[0], group.config
    bracket, source = true_epsilon(group, material.audits)
    metric = config.name.removeprefix("benchmark-")
    claimed = first.metrics.get(f"epsilon_{metric}", config.target_epsilon)
    honest = not _as_published(group)
    published = published_benchmark(Path(first.mechanism).stem, metric)
    poisson, poisson_source = (bracket, source) if honest else true_epsilon(_as_poisson(group), material.audits)
    return _line(
        (
            name_of(group),
            first.dataset,
            _setting(group),
            f"{config.max_grad_norm:g}",
            str(first.recipe.get("learning_rate", "?")),
            str(config.epochs),
            f"{config.noise_multiplier:.4f}",
            f"{claimed:.2f}",
            shown_bracket(bracket),
            source,
            shown_bracket(poisson),
            poisson_source,
            shown_mean(group.accuracies),
            shown_spread(group.accuracies),
            str(len(group.runs)),
            "" if honest or published is None else f"{published:.2f}",
        )
    )


def _as_published(group: Group) -> bool:
    return group.config.name.startswith("benchmark-")


def _setting(group: Group) -> str:
    """Where sigma comes from: a sigma that somebody gave keeps no budget by being given."""
    if _as_published(group):
        return "as published"
    config = group.config
    constant = EventTrace.of_run(config, (config.noise_multiplier,) * config.total_steps)
    upper = epsilon_bracket(constant, config.target_delta).upper
    kept = upper is not None and upper <= config.target_epsilon
    return "valid accountant" if kept else "sigma given"


def _as_poisson(group: Group) -> Group:
    """The same steps, drawn as the benchmark's formula assumes: for the price alone, nothing was trained so."""
    config = dataclasses.replace(group.config, cell=Cell(nonfinite=group.config.cell.nonfinite))
    return Group(runs=tuple(dataclasses.replace(run, config=config) for run in group.runs))


def _rows_not_run(groups: Sequence[Group]) -> list[str]:
    """The published rows that no run stands beside."""
    run = {(name_of(group), group.config.name) for group in groups}
    return [
        _line((mechanism, title, "as published", *("",) * 9, "not run", "", "0", f"{published:.2f}"))
        for mechanism in published_baselines()
        for metric, title in PUBLISHED_DATA_SETS.items()
        if (mechanism, f"benchmark-{metric}") not in run
        and (published := published_benchmark(mechanism, metric)) is not None
    ]


def _order(group: Group) -> tuple[str, str, bool]:
    first = group.runs[0]
    return first.dataset, Path(first.mechanism).stem, not _as_published(group)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
