"""Completed runs and audits as tables need them: read, grouped by everything but the seed, and priced."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import (
    AuditReport,
    Bracket,
    EventTrace,
    RunConfig,
    RunRecord,
    UnsupportedCellError,
    UsageError,
)
from dpaudit.contract.forms import class_in_form
from dpaudit.report.figures import lower_end, upper_end

from .records import read_record
from .training import median_and_mad

SPREAD = "min / max / median / MAD"
"""Head of the column of :func:`shown_spread`; MAD is the median of the absolute deviations from the median."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Completed runs and audits that were given."""

    runs: tuple[RunRecord, ...]
    audits: tuple[AuditReport, ...]
    skipped: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Completed runs of one source, class, form, configuration, recipe and features that differ in their seed."""

    runs: tuple[RunRecord, ...]

    @property
    def config(self) -> RunConfig:
        """What they share."""
        return self.runs[0].config

    @property
    def accuracies(self) -> list[float]:
        """Final-model test accuracies, percent."""
        return [run.accuracy for run in self.runs if run.accuracy is not None]


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
        chosen = [sorted(part.items(), key=str) for part in (run.recipe, run.features)]
        key = repr((run.source_sha256, run.class_name, run.form, run.config, chosen, run.dataset))
        groups.setdefault(key, []).append(run)
    for members in groups.values():
        seeds = [run.seed for run in members]
        if len(set(seeds)) != len(seeds):
            raise UsageError(f"table: {members[0].mechanism}: seed given twice among {seeds}; give each run once")
    return [Group(runs=tuple(members)) for members in groups.values()]


def name_of(group: Group) -> str:
    """File and, where it is not the usual one, class."""
    first = group.runs[0]
    stem = Path(first.mechanism).stem
    return stem if first.class_name == "DPMechanism" else f"{stem}::{first.class_name}"


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


def provenance(material: Material) -> list[str]:
    """What stands below every table."""
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


def shown_mean(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.2f} ± {spread:.2f}"


def shown_spread(values: Sequence[float]) -> str:
    """What :data:`SPREAD` heads; empty for one run, which has none."""
    if len(values) < 2:
        return ""
    median, mad = median_and_mad(values)
    return f"{min(values):.2f} / {max(values):.2f} / {median:.2f} / {mad:.2f}"


def shown_bracket(bracket: Bracket) -> str:
    """Both ends, the lower rounded down and the upper up; ``?`` where nothing was proved."""
    lower = "?" if bracket.lower is None else lower_end(bracket.lower)
    upper = "?" if bracket.upper is None else upper_end(bracket.upper)
    return f"[{lower}, {upper}]"
