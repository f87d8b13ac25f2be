"""``dpaudit table``: published tables beside what run directories and audits say."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import (
    AuditReport,
    Bracket,
    EventTrace,
    ExitCode,
    RunConfig,
    RunRecord,
    UnsupportedCellError,
    UsageError,
)
from dpaudit.contract.forms import class_in_form

from .published import PAPER_LADDER, PAPER_PUBLIC_TABLE, PAPER_TABLE, published_benchmark
from .records import read_record
from .training import median_and_mad


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Completed runs and audits that were given."""

    runs: tuple[RunRecord, ...]
    audits: tuple[AuditReport, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Completed runs of one source, class, form, configuration and recipe that differ in their seed."""

    runs: tuple[RunRecord, ...]

    @property
    def config(self) -> RunConfig:
        """What they share."""
        return self.runs[0].config

    @property
    def accuracies(self) -> list[float]:
        """Final-model test accuracies, percent."""
        return [run.accuracy for run in self.runs if run.accuracy is not None]


def run(arguments: argparse.Namespace) -> ExitCode:
    """Read everything, write one Markdown table with what it rests on."""
    from harness.atomic_files import write_atomically

    material = read_material([Path(path) for path in arguments.paths])
    if not material.runs:
        raise UsageError("table: expected at least one completed run directory, found none")
    lines = _benchmark(material) if arguments.which == "benchmark" else _paper(material)
    text = "\n".join([*lines, "", *_provenance(material)]) + "\n"
    if arguments.out:
        write_atomically(Path(arguments.out), text.encode())
        print(f"written to {arguments.out}", file=sys.stderr)
    else:
        sys.stdout.write(text)
    return ExitCode.ALL_ACCEPTED


def read_material(paths: Sequence[Path]) -> Material:
    """Runs and reports; runs that were not completed are left out and named.

    Raises:
        UsageError: a path is neither.
        DataError: a file is malformed.
    """
    import harness

    runs: list[RunRecord] = []
    audits: list[AuditReport] = []
    skipped: list[str] = []
    for path in paths:
        record = path / "report.json" if path.is_dir() else path
        if (path / "run.json").is_file():
            found = harness.read_run(path)
            if found.completed:
                runs.append(found)
            else:
                skipped.append(f"{path}: {len(found.ledger)} of {found.config.total_steps} steps")
        elif record.name.endswith(".json") and record.is_file():
            audits.extend(read_record(str(record), "table"))
        else:
            raise UsageError(f"table: expected a run directory or a report.json, got {str(path)!r}")
    return Material(runs=tuple(runs), audits=tuple(audits), skipped=tuple(skipped))


def groups_of(runs: Sequence[RunRecord]) -> list[Group]:
    """Runs that differ in their seed alone, in order of appearance; a repeated seed is an error.

    Raises:
        UsageError: the same seed twice: it would count one run as two.
    """
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        key = repr(
            (run.source_sha256, run.class_name, run.form, run.config, sorted(run.recipe.items(), key=str), run.dataset)
        )
        groups.setdefault(key, []).append(run)
    for members in groups.values():
        seeds = [run.seed for run in members]
        if len(set(seeds)) != len(seeds):
            raise UsageError(f"table: {members[0].mechanism}: seed given twice among {seeds}; give each run once")
    return [Group(runs=tuple(members)) for members in groups.values()]


def true_epsilon(group: Group, audits: Sequence[AuditReport]) -> tuple[Bracket, str]:
    """Epsilon as it ran: the audit's replayed bracket where one matches, else that of the reported schedule.

    A mechanism that misreports its noise spends more than its reported schedule, so the source is named beside.
    """
    first = group.runs[0]
    for audit in audits:
        same = (audit.source_sha256, audit.config) == (first.source_sha256, first.config)
        if same and audit.class_name == class_in_form(first.class_name, first.form):
            return audit.epsilon.replayed, f"audit, {audit.verdict}"
    sigmas = [row.reported_sigma for row in first.ledger]
    known = tuple(sigma for sigma in sigmas if sigma is not None)
    nothing = Bracket(lower=None, upper=None, lower_method="none", upper_method="none")
    if len(known) != len(sigmas):
        return nothing, "no sigma reported"
    try:
        return epsilon_bracket(EventTrace.of_run(first.config, known), first.config.target_delta), "reported schedule"
    except UnsupportedCellError:
        return nothing, "cell not answered"


def _benchmark(material: Material) -> list[str]:
    """One row a mechanism, data set and budget: the published claim, what it really costs, what accuracy it buys."""
    lines = [
        "# The public benchmark, re-scored",
        "",
        "| mechanism | data set | setting | sigma | claimed epsilon | true epsilon | from | test accuracy %, final model "
        "| seeds | published % |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for group in sorted(groups_of(material.runs), key=_benchmark_order):
        first, config = group.runs[0], group.config
        bracket, source = true_epsilon(group, material.audits)
        metric = config.name.removeprefix("benchmark-")
        claimed = first.metrics.get(f"epsilon_{metric}", config.target_epsilon)
        honest = not config.name.startswith("benchmark-")
        name = Path(first.mechanism).stem
        published = published_benchmark(name, metric)
        cells = (
            name if first.class_name == "DPMechanism" else f"{name}::{first.class_name}",
            first.dataset,
            "valid accountant" if honest else "as published",
            f"{config.noise_multiplier:.4f}",
            f"{claimed:.2f}",
            _bracket(bracket),
            source,
            _mean(group.accuracies),
            str(len(group.runs)),
            "" if honest or published is None else f"{published:.2f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _benchmark_order(group: Group) -> tuple[str, str, bool]:
    first = group.runs[0]
    return first.dataset, Path(first.mechanism).stem, not group.config.name.startswith("benchmark-")


def _paper(material: Material) -> list[str]:
    """The paper's Table 1 and its ladder, published beside what was run; what was not run says so."""
    groups = groups_of(material.runs)
    lines = ["# Privacy-preserving optimisers: the paper's tables beside our runs", "", "## Table 1, CIFAR-10", ""]
    spread = "min / max / median / MAD"
    heads = f"| network | optimiser | published {spread} | ours {spread} | seeds | epsilon | as run |"
    rule = "|---|---|---|---|---|---|---|"
    lines += [heads, rule]
    for (network, optimiser, preset), published in PAPER_TABLE.items():
        lines += _paper_rows(f"{network} | {optimiser}", " / ".join(map(str, published)), preset, groups, material)
    lines += [
        "",
        "## The same with public data (ImageNet weights): not to be compared with the table above",
        "",
        heads,
        rule,
    ]
    for (network, optimiser, preset), published in PAPER_PUBLIC_TABLE.items():
        lines += _paper_rows(f"{network} | {optimiser}", " / ".join(map(str, published)), preset, groups, material)
    lines += ["", "## Ladder, ResNet-20 with DP-SGD", "", heads.replace("network | optimiser", "step | settings"), rule]
    for step, (settings, value, ours) in PAPER_LADDER.items():
        lines += _paper_rows(f"{step} | {settings}", f"{value}", ours, groups, material)
    return lines


def _paper_rows(
    label: str, published: str, preset: str | None, groups: Sequence[Group], material: Material
) -> list[str]:
    matching = [group for group in groups if preset is not None and group.config.name == preset]
    if not matching:
        return [f"| {label} | {published} | not run | 0 | | |"]
    rows = []
    for group in matching:
        bracket, source = true_epsilon(group, material.audits)
        values = sorted(group.accuracies)
        median, mad = median_and_mad(values)
        ours = f"{values[0]:.1f} / {values[-1]:.1f} / {median:.1f} / {mad:.1f}"
        rows.append(
            f"| {label} | {published} | {ours} | {len(values)} | {_bracket(bracket)} ({source}) | {_as_run(group)} |"
        )
    return rows


def _as_run(group: Group) -> str:
    """What differs from the preset: epochs, form, augmentation; and the data set's title."""
    import harness

    first, config = group.runs[0], group.config
    chosen = harness.preset(config.name)
    words = [first.dataset, f"{Path(first.mechanism).stem}, form {first.form}"]
    if config.epochs != chosen.epochs:
        words.append(f"{config.epochs} of {chosen.epochs} epochs")
    expected = chosen.recipe.to_json()
    words += [f"{name} {first.recipe.get(name)}" for name in expected if first.recipe.get(name) != expected[name]]
    return ", ".join(words)


def _provenance(material: Material) -> list[str]:
    devices = sorted({run.versions.get("device", "unknown device") for run in material.runs})
    torches = sorted({run.versions.get("torch", "unknown") for run in material.runs})
    lines = [
        f"{len(material.runs)} completed run(s) on {', '.join(devices)}; torch {', '.join(torches)}.",
        "Accuracies are those of final models; settings were given, and a search for them is not part of epsilon.",
        "True epsilon is a bracket [lower, upper] at the run's own delta, sampler and relation; `?` was not proved. "
        "`reported schedule` trusts the mechanism's sigma; `audit` measured it.",
    ]
    lines += [f"Left out, not completed: {words}." for words in material.skipped]
    return lines


def _mean(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.2f} ± {spread:.2f}"


def _bracket(bracket: Bracket) -> str:
    lower = "?" if bracket.lower is None else f"{bracket.lower:.2f}"
    upper = "?" if bracket.upper is None else f"{bracket.upper:.2f}"
    return f"[{lower}, {upper}]"
