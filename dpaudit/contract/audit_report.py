"""AuditReport: the record of one audit, and the fold from findings to a verdict's exit code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module

from .attack_report import AttackReport
from .bracket import Bracket
from .curves import CurvesRecord
from .finding import Finding, PlainData
from .run_config import RunConfig
from .words import ExitCode, Layer, NoiseClass, Outcome, Severity, Verdict

SCHEMA = "dpaudit.report/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """What one layer concluded, in how long, and in one line why. A layer that did not run is a record too."""

    layer: Layer
    outcome: Outcome
    ran: bool
    summary: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyRow:
    """Test accuracy of the final model, percent, over runs with different seeds.

    ``std`` is the sample standard deviation (n - 1), ``None`` for a single run.
    """

    dataset: str
    mean: float
    std: float | None
    runs: int
    best_on_test_mean: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaRecord:
    """Noise multipliers: reported and measured at every step, and the bracket of the effective one (smallest over steps)."""

    reported: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    classes: tuple[NoiseClass, ...]
    effective: Bracket


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonRecord:
    """Epsilon at ``delta``: the target, what the reported schedule costs, what really ran costs, and what an attack proved.

    Attributes:
        reported: by the claim's own accountant, from the reported schedule; ``None`` if there is none.
        reported_bracket: the reported schedule under a valid accountant in the audited cell.
        replayed: the measured schedule, lower end from one demonstrated pair, upper end from the static bound.
        empirical_lower: a statistical lower bound; ``None`` if no attack ran.
    """

    target: float
    delta: float
    reported: float | None
    reported_bracket: Bracket | None
    replayed: Bracket
    empirical_lower: float | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AuditReport:
    """The immutable record of one audit of one mechanism.

    Attributes:
        reasons: why the verdict is what it is, in sentences; first the deciding one.
        assumptions: what the verdict takes for granted.
        blind_spots: what this audit could not have detected.
        honest_noise_factor: multiply all noise by this and the measured schedule meets the target; ``None`` if unknown.
        expected: the verdict that an expectation file names, if one was given.
        command: how to run this audit again.
        pair: the demonstrated pair of neighbours, in words.
        certificate: the static bound as data, for an independent re-check; empty if there is none.
        attacks: records of attacks on trainings of this very source and configuration, which the audit took in.
        curves: spend over the steps, and attacks beside what the claim allows; for pictures.
    """

    mechanism: str
    class_name: str
    source_sha256: str
    config: RunConfig
    verdict: Verdict
    reasons: tuple[str, ...]
    layers: tuple[LayerRecord, ...]
    findings: tuple[Finding, ...]
    epsilon: EpsilonRecord
    sigma: SigmaRecord
    accuracy: tuple[AccuracyRow, ...]
    honest_noise_factor: float | None
    assumptions: tuple[str, ...]
    blind_spots: tuple[str, ...]
    command: str
    seconds: float
    created: str
    versions: Mapping[str, str] = field(default_factory=dict)
    expected: tuple[Verdict, ...] = ()
    pair: str = ""
    certificate: Mapping[str, PlainData] = field(default_factory=dict)
    attacks: tuple[AttackReport, ...] = ()
    curves: CurvesRecord = field(default_factory=CurvesRecord)

    def __repr__(self) -> str:
        """One line for a person; ``dpaudit.report.to_json`` gives the whole record."""
        ends = (
            "?" if end is None else f"{end:.5g}" for end in (self.epsilon.replayed.lower, self.epsilon.replayed.upper)
        )
        state = f"{self.verdict}{', BROKEN' if self.broken else ''}"
        return (
            f"<AuditReport {self.mechanism}: {state}, epsilon [{', '.join(ends)}], target {self.epsilon.target:g} at delta "
            f"{self.epsilon.delta:g}, {len(self.findings)} finding(s)>"
        )

    def _repr_html_(self) -> str:
        """The report's page, for notebooks. Loaded by name: the vocabulary depends on nothing that renders it."""
        page: str = import_module("dpaudit.report").notebook_html(self)
        return page

    @property
    def as_expected(self) -> bool | None:
        """Whether the verdict is among the expected ones; ``None`` where nothing was expected."""
        return self.verdict in self.expected if self.expected else None

    @property
    def lacks_for_acceptance(self) -> str:
        """What an ACCEPTED report itself must hold, and this one does not; empty if nothing.

        No proof of the verdict: a report that somebody wrote by hand can hold all of it. ``dpaudit verify`` re-checks.
        """
        upper = self.epsilon.replayed.upper
        if upper is None or not upper <= self.epsilon.target:
            return "an upper end of epsilon at most the target"
        if not self.epsilon.target <= self.config.target_epsilon:
            return "a target that is the run's"
        passed = {record.layer for record in self.layers if record.ran and record.outcome is Outcome.PASSED}
        if missing := [layer for layer in (Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY) if layer not in passed]:
            return f"the layer {missing[0]} run and PASSED"
        if any(finding.severity is not Severity.MINOR for finding in self.findings):
            return "no finding worse than MINOR"
        return ""

    @property
    def broken(self) -> bool:
        """Whether dpaudit itself failed somewhere in this audit (a rule of the 0-0x family)."""
        return any(finding.rule in {"DPA001", "DPA002"} for finding in self.findings) or any(
            record.outcome is Outcome.ERRORED for record in self.layers
        )


def fold_exit_code(reports: Iterable[AuditReport]) -> ExitCode:
    """Exit code of a whole run: 3 (the audit broke) > 1 (a rejection) > 4 (inconclusive) > 0; 5 for an empty set."""
    reports = tuple(reports)
    if not reports:
        return ExitCode.NOTHING_AUDITED
    if any(report.broken for report in reports):
        return ExitCode.BROKEN
    if any(report.verdict is Verdict.REJECTED for report in reports):
        return ExitCode.REJECTED
    if all(report.verdict is Verdict.ACCEPTED for report in reports):
        return ExitCode.ALL_ACCEPTED
    return ExitCode.INCONCLUSIVE
