"""One audit: load, probe, run the layers, train, decide."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata

from dpaudit.contract import (
    AccuracyRow,
    AttackReport,
    AuditReport,
    Bracket,
    Calibration,
    EpsilonRecord,
    Finding,
    Form,
    Layer,
    LayerRecord,
    Measurement,
    Outcome,
    RunConfig,
    RunRecord,
    Severity,
    SigmaRecord,
    Strength,
)
from dpaudit.contract.forms import in_form
from dpaudit.probe import MechanismSource, SourceError, benchmark_imports, load_source, measure

from .attack_records import ASSUMED, findings_of, is_from_attack, require_same
from .decision import Decision, decide
from .layers import LayerRuns, broken_measurement, run_layers
from .limits import assumptions, blind_spots, sentences
from .plan import DEFAULT_LAYERS
from .watch import PROBE, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What the training runs of one mechanism left: records of completed runs, and findings of those that failed.

    ``notes`` say why there is no accuracy where that is no fault of the mechanism; they change no verdict.
    """

    records: tuple[RunRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


Train = Callable[[], TrainingResult]


def audit(
    spec: str,
    config: RunConfig,
    *,
    layers: Sequence[Layer] = DEFAULT_LAYERS,
    required: Sequence[Layer] = (),
    known: Sequence[Finding] = (),
    train: Train | None = None,
    command: str = "",
    time_limit: float | None = None,
    watch: Watch | None = None,
    form: Form = Form.PLAIN,
    attacks: Sequence[AttackReport] = (),
) -> AuditReport:
    """Audit one mechanism under one run configuration.

    Guarantee: always returns a report with a verdict. Whatever the candidate does (crash, hang, exit) is a finding; a fault
    of dpaudit itself is recorded as DPA001 and never ends ACCEPTED.

    Args:
        spec: ``file.py`` or ``file.py::ClassName``.
        layers: which layers to run; ACCEPTED needs all of :data:`REQUIRED_LAYERS`.
        required: further layers that ACCEPTED needs.
        known: what was found before this audit, by an adapter; part of what is decided from.
        train: called once, after the probe, unless the mechanism could not be run; brings accuracy and ledgers.
        command: how to run this audit again; printed with findings.
        form: of the interface that is audited: what the harness does with an optional form, written out as
            ``clip_and_noise`` (``dpaudit.contract.forms``). Ledgers of runs in another form say nothing about it.
        attacks: records of attacks on trainings of this source under this configuration. What they found counts; that one
            found nothing changes nothing.
        watch: told what is under way and how far it has come.
        time_limit: seconds of processor time, or three times as many of waiting, that the candidate gets in each of the probe,
            the static layer and the property search; by default 120 in the probe and the search and 60 in the static layer,
            and one more for every 20 steps in the probe and the static layer.

    Raises:
        UsageError: no such file; a cell that has no valid accounting; an attack on another source or configuration.
    """
    started = time.monotonic()
    try:
        source = _in_form(load_source(spec), form)
    except SourceError as error:
        return _unloadable(spec, config, (error.finding, *known), command, time.monotonic() - started)
    require_same(attacks, source, config, form)
    limit = 120.0 + config.total_steps / 20 if time_limit is None else time_limit
    if watch is not None:
        watch.begin(PROBE)
    measurement = _measure(source, config, limit, None if watch is None else watch.advance)
    runnable = not any(finding.rule in {"DPA001", "DPA012", "DPA013", "DPA014"} for finding in measurement.findings)
    training = train() if train is not None and runnable else TrainingResult()
    ledgers = tuple(record for record in training.records if record.form is form)
    runs = run_layers(
        source,
        config,
        measurement,
        layers,
        ledgers,
        command=command,
        time_limit=time_limit,
        told=findings_of(attacks),
        watch=watch,
    )
    imports = benchmark_imports(source) if config.calibration is Calibration.BENCHMARK else ()
    findings = _worst_first((*known, *measurement.findings, *runs.findings, *imports, *training.findings))
    decision = decide(
        layers=runs.records,
        findings=findings,
        replayed=runs.replayed,
        target_epsilon=config.target_epsilon,
        required=required,
    )
    report = _report(
        source, config, measurement, runs, training, ledgers, findings, decision, command, time.monotonic() - started
    )
    assumed = (ASSUMED,) if attacks else ()
    return replace(report, attacks=tuple(attacks), assumptions=(*report.assumptions, *assumed))


def _in_form(source: MechanismSource, form: Form) -> MechanismSource:
    """The source whose class does by ``clip_and_noise`` what the harness does by the form; the file's hash stays."""
    text, class_name = in_form(source.text, source.class_name, form)
    return replace(source, text=text, class_name=class_name)


def _measure(
    source: MechanismSource, config: RunConfig, time_limit: float, progress: Callable[[int, int], None] | None
) -> Measurement:
    try:
        return measure(source, config, time_limit=time_limit, progress=progress)
    except Exception as error:
        # A defect of the probe must end in a report that says so, with the other mechanisms of the run unaffected.
        return broken_measurement(source, config, error)


def _report(
    source: MechanismSource,
    config: RunConfig,
    measurement: Measurement,
    runs: LayerRuns,
    training: TrainingResult,
    ledgers: tuple[RunRecord, ...],
    findings: tuple[Finding, ...],
    decision: Decision,
    command: str,
    seconds: float,
) -> AuditReport:
    matching = tuple(record for record in ledgers if record.config == config)
    return AuditReport(
        mechanism=source.display,
        class_name=source.class_name,
        source_sha256=source.sha256,
        config=config,
        verdict=decision.verdict,
        reasons=decision.reasons,
        layers=runs.records,
        findings=_with_command(findings, command),
        epsilon=EpsilonRecord(
            target=config.target_epsilon,
            delta=config.target_delta,
            reported=runs.claimed,
            reported_bracket=runs.reported,
            replayed=runs.replayed,
            empirical_lower=runs.empirical_lower,
        ),
        sigma=SigmaRecord(
            reported=measurement.reported,
            measured=measurement.measured,
            classes=measurement.classes,
            effective=runs.effective,
        ),
        accuracy=accuracy_rows(training.records),
        honest_noise_factor=runs.honest_noise_factor,
        assumptions=sentences(
            (
                *assumptions(config, ledgers=len(matching)),
                *(() if runs.static is None else runs.static.assumptions),
            )
        ),
        blind_spots=sentences((*blind_spots(runs.records, ledgers=len(matching)), *measurement.notes, *training.notes)),
        command=command,
        seconds=seconds,
        created=now(),
        versions=versions(),
        pair=measurement.pair,
        certificate={} if runs.static is None else runs.static.certificate,
        curves=runs.curves,
    )


def _unloadable(
    spec: str, config: RunConfig, findings: tuple[Finding, ...], command: str, seconds: float
) -> AuditReport:
    nothing = Bracket(lower=None, upper=None, lower_method="not loaded", upper_method="not loaded")
    records = tuple(_not_run(layer, "the mechanism could not be loaded") for layer in Layer)
    decision = decide(layers=records, findings=findings, replayed=nothing, target_epsilon=config.target_epsilon)
    return AuditReport(
        mechanism=spec,
        class_name="",
        source_sha256="",
        config=config,
        verdict=decision.verdict,
        reasons=decision.reasons,
        layers=records,
        findings=_with_command(findings, command),
        epsilon=EpsilonRecord(
            target=config.target_epsilon,
            delta=config.target_delta,
            reported=None,
            reported_bracket=None,
            replayed=nothing,
            empirical_lower=None,
        ),
        sigma=SigmaRecord(reported=(), measured=(), classes=(), effective=nothing),
        accuracy=(),
        honest_noise_factor=None,
        assumptions=tuple(assumptions(config, ledgers=0)),
        blind_spots=("Nothing was examined: the mechanism could not be loaded.",),
        command=command,
        seconds=seconds,
        created=now(),
        versions=versions(),
    )


def accuracy_rows(records: Sequence[RunRecord]) -> tuple[AccuracyRow, ...]:
    """Final-model accuracy per data set over completed runs; sample standard deviation over two or more."""
    rows = []
    for dataset in dict.fromkeys(record.dataset for record in records):
        group = [record for record in records if record.dataset == dataset and record.accuracy is not None]
        values = [record.accuracy for record in group if record.accuracy is not None]
        best = [record.best_accuracy_on_test for record in group if record.best_accuracy_on_test is not None]
        if not values:
            continue
        mean = sum(values) / len(values)
        spread = sum((value - mean) ** 2 for value in values)
        rows.append(
            AccuracyRow(
                dataset=dataset,
                mean=mean,
                std=(spread / (len(values) - 1)) ** 0.5 if len(values) > 1 else None,
                runs=len(values),
                best_on_test_mean=sum(best) / len(best) if best else None,
            )
        )
    return tuple(rows)


def training_failure(file: str, line: int | None, message: str) -> Finding:
    """A training run that left no result: the claim is not refuted by it, but no accuracy stands beside it."""
    return Finding(
        rule="DPA501",
        severity=Severity.MAJOR,
        strength=Strength.PROOF,
        message=message,
        file=file,
        line=line,
    )


def _not_run(layer: Layer, why: str) -> LayerRecord:
    return LayerRecord(layer=layer, outcome=Outcome.NOT_APPLICABLE, ran=False, summary=why)


def _worst_first(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Sorted by severity; within one severity in the order in which they were found."""
    return tuple(sorted(findings, key=lambda finding: list(Severity).index(finding.severity)))


def _with_command(findings: tuple[Finding, ...], command: str) -> tuple[Finding, ...]:
    """Findings with the command of this audit, which names preset and cell; the layers know the path only.

    What an attack on a training found keeps the command of that attack.
    """
    return tuple(
        replace(finding, rerun=command) if command and not is_from_attack(finding) else finding for finding in findings
    )


def now() -> str:
    """The time of writing, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Of Python and of the packages that an audit computes with."""
    packages = ("dpaudit", "torch", "numpy", "scipy", "dp-accounting")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
