"""``dpaudit table paired``: mechanisms against a baseline, seed by seed.

Runs of one seed share initialisation, batches and (where mechanisms draw alike) the noise, so the difference of two
mechanisms varies less from seed to seed than either. Intervals are Student's t over seeds, once by themselves and once for all
comparisons of the table together (Bonferroni); they assume differences that are independent and about normal, and say
nothing about other data, networks or settings.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy import stats

from dpaudit.contract import UsageError

from .run_material import (
    SPREAD,
    Group,
    Material,
    groups_of,
    name_of,
    provenance,
    shown_bracket,
    shown_mean,
    shown_spread,
    true_epsilon,
)
from .training import median_and_mad

LEVEL = 0.95
LEAST_SEEDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One mechanism against the baseline on the seeds that both have.

    Attributes:
        seeds: those of the pairs.
        differences: accuracy of the mechanism minus that of the baseline, percentage points, a pair each.
        interval: for the mean difference at :data:`LEVEL`, by itself.
        together: the same for all comparisons of the table at once.
    """

    group: Group
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    interval: tuple[float, float]
    together: tuple[float, float]

    @property
    def mean(self) -> float:
        """Mean difference, percentage points."""
        return statistics.fmean(self.differences)


def paired_table(material: Material, baseline: str) -> tuple[list[str], dict[str, Any]]:
    """Markdown lines, and the same as plain data.

    Raises:
        UsageError: no baseline, two baselines for one setting, or fewer than two common seeds.
    """
    lines, settings = [f"# Mechanisms against `{baseline}`, paired by seed", ""], []
    for members in _settings(material):
        base, others = _split(members, baseline)
        compared = [_comparison(group, base, count=len(others)) for group in others]
        compared.sort(key=lambda comparison: -comparison.mean)
        lines += [*_setting_lines(base), "", *_rows(base, compared, material), ""]
        settings.append(_setting_json(base, compared, material))
    lines += [
        "Differences are in percentage points, over the seeds that both have; accuracies are over all seeds of a row. "
        f"Intervals: Student's t over seeds, {LEVEL:.0%}; `all together` holds for all comparisons of one table at once "
        "(Bonferroni). `better` and `worse` are said of the latter alone.",
    ]
    return lines, {
        "schema": "dpaudit.paired/1",
        "baseline": baseline,
        "settings": settings,
        "notes": provenance(material),
    }


def _settings(material: Material) -> list[list[Group]]:
    """Groups that were trained under one setting: all but the bound and the learning rate, which a mechanism is tuned by."""
    found: dict[str, list[Group]] = {}
    for group in groups_of(material.runs):
        first = group.runs[0]
        config = dataclasses.replace(group.config, max_grad_norm=1.0)
        recipe = sorted((name, value) for name, value in first.recipe.items() if name != "learning_rate")
        features = sorted(first.features.items(), key=str)
        found.setdefault(repr((config, first.dataset, recipe, features)), []).append(group)
    return list(found.values())


def _split(members: Sequence[Group], baseline: str) -> tuple[Group, list[Group]]:
    bases = [group for group in members if name_of(group) == baseline]
    if len(bases) != 1:
        names = ", ".join(name_of(group) for group in members)
        raise UsageError(
            f"table: expected runs of {baseline!r} at one bound and rate under every setting, got {len(bases)} among {names} "
            f"({members[0].config.name}, {members[0].config.epochs} epochs); give one, or choose with --baseline"
        )
    return bases[0], [group for group in members if group is not bases[0]]


def _comparison(group: Group, base: Group, *, count: int) -> Comparison:
    ours, theirs = ({run.seed: run.accuracy for run in runs.runs if run.accuracy is not None} for runs in (group, base))
    seeds = sorted(set(ours) & set(theirs))
    if len(seeds) < LEAST_SEEDS:
        raise UsageError(
            f"table: {name_of(group)}: expected at least {LEAST_SEEDS} seeds that {name_of(base)} has too, got {seeds}"
        )
    differences = tuple(ours[seed] - theirs[seed] for seed in seeds)
    return Comparison(
        group=group,
        seeds=tuple(seeds),
        differences=differences,
        interval=student_interval(differences, LEVEL),
        together=student_interval(differences, 1 - (1 - LEVEL) / max(count, 1)),
    )


def student_interval(values: Sequence[float], level: float) -> tuple[float, float]:
    """Two-sided interval for the mean of independent normal values at ``level`` (Student's t)."""
    mean = statistics.fmean(values)
    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean - reach, mean + reach


def _setting_lines(base: Group) -> list[str]:
    config, first = base.config, base.runs[0]
    return [
        f"## {first.dataset}: preset {config.name}, {config.epochs} epoch(s), {config.total_steps} steps",
        "",
        f"Batch {config.batch_size} of {config.dataset_size}, cell {config.cell}, noise multiplier {config.noise_multiplier:.5f} "
        f"for a claim of ({config.target_epsilon:g}, {config.target_delta:g}).",
    ]


def _rows(base: Group, compared: Sequence[Comparison], material: Material) -> list[str]:
    rows = [
        f"| mechanism | bound | rate | form | true epsilon | from | test accuracy %, final model | {SPREAD} | seeds | difference "
        "| 95 % | all together | |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        f"| {_facts(base, material)} | {len(base.runs)} | | | | baseline |",
    ]
    for one in compared:
        rows.append(
            f"| {_facts(one.group, material)} | {len(one.seeds)} | {one.mean:+.2f} | {_shown(one.interval)} | "
            f"{_shown(one.together)} | {judgement(one.together)} |"
        )
    return rows


def _facts(group: Group, material: Material) -> str:
    bracket, source = true_epsilon(group, material.audits)
    cells = (
        name_of(group),
        f"{group.config.max_grad_norm:g}",
        str(group.runs[0].recipe.get("learning_rate", "?")),
        str(group.runs[0].form),
        shown_bracket(bracket),
        source,
        shown_mean(group.accuracies),
        shown_spread(group.accuracies),
    )
    return " | ".join(cells)


def judgement(interval: tuple[float, float]) -> str:
    """What an interval for a difference shows."""
    if interval[0] > 0:
        return "better"
    if interval[1] < 0:
        return "worse"
    return "no difference shown"


def _shown(interval: tuple[float, float]) -> str:
    return f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"


def _setting_json(base: Group, compared: Sequence[Comparison], material: Material) -> dict[str, Any]:
    config = base.config
    return {
        "preset": config.name,
        "dataset": base.runs[0].dataset,
        "epochs": config.epochs,
        "steps": config.total_steps,
        "dataset_size": config.dataset_size,
        "batch_size": config.batch_size,
        "cell": str(config.cell),
        "noise_multiplier": config.noise_multiplier,
        "target": [config.target_epsilon, config.target_delta],
        "recipe": {name: value for name, value in base.runs[0].recipe.items() if name != "learning_rate"},
        "baseline": _group_json(base, material),
        "compared": [
            {
                **_group_json(one.group, material),
                "pairs": dict(zip(map(str, one.seeds), one.differences, strict=True)),
                "mean_difference": one.mean,
                "interval": {"level": LEVEL, "method": "Student's t", "ends": list(one.interval)},
                "together": {"level": LEVEL, "method": "Student's t, Bonferroni", "ends": list(one.together)},
                "shows": judgement(one.together),
            }
            for one in compared
        ],
    }


def _group_json(group: Group, material: Material) -> dict[str, Any]:
    bracket, source = true_epsilon(group, material.audits)
    first = group.runs[0]
    median, mad = median_and_mad(group.accuracies)
    return {
        "mechanism": name_of(group),
        "source_sha256": first.source_sha256,
        "max_grad_norm": group.config.max_grad_norm,
        "learning_rate": first.recipe.get("learning_rate"),
        "form": str(first.form),
        "epsilon": [bracket.lower, bracket.upper],
        "epsilon_from": source,
        "accuracy": {str(run.seed): run.accuracy for run in group.runs},
        "min": min(group.accuracies),
        "max": max(group.accuracies),
        "median": median,
        "mad": mad,
        "versions": dict(first.versions),
    }
