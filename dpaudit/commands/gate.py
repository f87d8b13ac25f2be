"""``dpaudit gate``: audit every mechanism, print or write the report, end with the verdicts' exit code."""

import argparse
import atexit
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from dpaudit.contract import AttackReport, AuditReport, ExitCode, Form, Layer, UsageError, Verdict, fold_exit_code
from dpaudit.gate import Expectation, audit, is_from_attack, plan_layers, read_expectations
from dpaudit.report import Form as Rendering
from dpaudit.report import render, write_reports

from .attack_records import attacks_by_target
from .finished import Finished, audit_key
from .ledger import audit_ledger
from .progress import Progress
from .streams import coloured
from .subjects import Target, targets_of
from .training import trainer


def run(arguments: argparse.Namespace) -> ExitCode:
    """Audit ``arguments.paths``. Every mechanism gets a verdict, whatever the others do."""
    import harness

    layers, required = _layers(arguments)
    if arguments.accuracy not in ("none", *harness.DATASET_PRESETS):
        raise UsageError(
            f"--accuracy: expected one of none, {', '.join(harness.DATASET_PRESETS)}, got {arguments.accuracy!r}"
        )
    if arguments.resume and not arguments.out:
        raise UsageError("--resume: expected --out DIR, the folder of the interrupted run")
    expectations = read_expectations(Path(arguments.expect), arguments.preset) if arguments.expect else {}
    scratch = nullcontext(arguments.out) if arguments.out else tempfile.TemporaryDirectory(prefix="dpaudit-")
    with scratch as folder, Progress(quiet=arguments.quiet) as progress:
        ledgers = tuple(audit_ledger(path, arguments) for path in arguments.ledger or ())
        given = arguments.paths or arguments.opacus or arguments.function or not ledgers
        targets = targets_of(arguments, Path(folder) / "adapted") if given else ()
        if arguments.format == Rendering.HTML and not arguments.out and len(targets) + len(ledgers) != 1:
            raise UsageError("--format html: expected --out DIR to write the pages of several audits to")
        work = _Work(
            arguments=arguments,
            layers=layers,
            required=required,
            folder=Path(folder),
            progress=progress,
            finished=Finished(Path(arguments.out) if arguments.out else None),
            attacks=attacks_by_target(arguments.attack_record or (), targets),
        )
        try:
            audits = _in_order(work.examine, targets, arguments.jobs)
        except KeyboardInterrupt:
            work.stopped.set()
            _interrupted(arguments)
        reports = tuple(
            _with_expectation(report, expectations.get(_file(report.mechanism))) for report in (*audits, *ledgers)
        )
    if arguments.out:
        reports = tuple(with_rerun(report, Path(arguments.out) / "report.json") for report in reports)
    if not reports:
        print(f"dpaudit: gate: no mechanism file (*.py) in {', '.join(arguments.paths)}", file=sys.stderr)
    _emit(reports, arguments)
    surprises = _surprises(reports, expectations) if arguments.expect else ()
    for line in surprises:
        print(line, file=sys.stderr)
    return _exit_code(reports, bool(arguments.expect), bool(surprises), arguments.admit_inconclusive)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What the audits of one run share. Safe to use from any thread.

    ``stopped`` is set before the workers of unfinished audits are ended: what these say from then on is not kept.
    """

    arguments: argparse.Namespace
    layers: tuple[Layer, ...]
    required: tuple[Layer, ...]
    folder: Path
    progress: Progress
    finished: Finished
    attacks: Mapping[str, Mapping[str, AttackReport]]
    stopped: Event = field(default_factory=Event)

    def examine(self, target: Target) -> AuditReport:
        """Audit one target, or take its finished audit where ``--resume`` asks for it."""
        attacks = self.attacks.get(target.spec, {})
        key = self._key(target)
        done = self.finished.find(key) if self.arguments.resume else None
        if done is not None:
            return done
        bar = self.progress.bar(target.spec if target.subject is None else target.subject.name)
        try:
            report = audit(
                target.spec,
                target.config,
                layers=self.layers,
                required=self.required,
                form=self._form(target),
                attacks=tuple(attacks.values()),
                known=() if target.subject is None else target.subject.findings,
                train=None
                if target.subject is not None
                else trainer(target.spec, target.config, self.arguments, self.folder / "runs", bar),
                command=shlex.join([*shlex.split(target.command), *(f"--attack-record={name}" for name in attacks)]),
                time_limit=self.arguments.time_limit,
                watch=bar,
            )
        finally:
            bar.end()
        if target.subject is not None:
            report = target.subject.retold(report)
        if not self.stopped.is_set():
            self.finished.keep(key, report)
        return report

    def _form(self, target: Target) -> Form:
        """The form that is audited; what an adapter wrote has the plain one."""
        return Form(self.arguments.form or Form.PLAIN) if target.subject is None else Form.PLAIN

    def _key(self, target: Target) -> str:
        words = self.arguments
        known = () if target.subject is None else target.subject.findings
        settings = (self._form(target), words.accuracy, words.runs, words.data_root, words.time_limit)
        attacks = tuple(self.attacks.get(target.spec, {}).items())
        return audit_key(
            target.spec, (target.config, target.command, self.layers, self.required, known, settings, attacks)
        )


def _layers(arguments: argparse.Namespace) -> tuple[tuple[Layer, ...], tuple[Layer, ...]]:
    """Layers to run, and those that ACCEPTED needs beyond the fixed ones. What is required is run."""
    required = plan_layers(arguments.required_layers) if arguments.required_layers else ()
    chosen = plan_layers(arguments.layers)
    if arguments.layers is None:
        chosen = (*chosen, *(layer for layer in required if layer not in chosen))
    return chosen, required


def _in_order(
    examine: Callable[[Target], AuditReport], targets: Sequence[Target], jobs: int
) -> tuple[AuditReport, ...]:
    """Examine up to ``jobs`` mechanisms at once; the heavy work is in processes of their own. Results in order."""
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        return tuple(pool.map(examine, targets))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _interrupted(arguments: argparse.Namespace) -> None:
    """Say what is kept, and end at once: the threads of unfinished audits would be waited for otherwise."""
    kept = f"; finished audits are kept in {arguments.out}, go on with --resume" if arguments.out else ""
    print(f"\ndpaudit: interrupted{kept}", file=sys.stderr)
    sys.stderr.flush()
    with suppress(Exception):
        atexit._run_exitfuncs()  # ends the workers and takes their folders away, as an ordinary end would
    os._exit(130)


def _emit(reports: Sequence[AuditReport], arguments: argparse.Namespace) -> None:
    if arguments.out:
        written = write_reports(reports, Path(arguments.out), docs_url=arguments.docs_url)
        print(f"reports written to {arguments.out} ({len(written)} files); start at index.html", file=sys.stderr)
    form = Rendering(arguments.format)
    if form is not Rendering.HTML or not arguments.out:
        sys.stdout.write(render(reports, form, colour=coloured(arguments), docs_url=arguments.docs_url))


def _with_expectation(report: AuditReport, expectation: Expectation | None) -> AuditReport:
    return report if expectation is None else replace(report, expected=expectation.verdicts)


def with_rerun(report: AuditReport, record: Path) -> AuditReport:
    """Findings with the command that shows each of them again from the written report."""
    findings = tuple(
        finding
        if is_from_attack(finding)
        else replace(
            finding, rerun=shlex.join(["dpaudit", "rerun", str(record), str(number), "--mechanism", report.mechanism])
        )
        for number, finding in enumerate(report.findings, 1)
    )
    return replace(report, findings=findings)


def _surprises(reports: Sequence[AuditReport], expectations: Mapping[Path, Expectation]) -> tuple[str, ...]:
    said = []
    for report in reports:
        expectation = expectations.get(_file(report.mechanism))
        if expectation is None:
            said.append(f"{report.mechanism}: no expected verdict in the expectation file; add one")
        else:
            said.extend(
                f"{report.mechanism}: {words}" for words in expectation.surprises(report.verdict, report.findings)
            )
    return tuple(said)


def _exit_code(reports: Sequence[AuditReport], expecting: bool, surprised: bool, admit: bool) -> ExitCode:
    code = fold_exit_code(reports)
    if code in (ExitCode.BROKEN, ExitCode.NOTHING_AUDITED):
        return code
    if expecting:
        return ExitCode.REJECTED if surprised else ExitCode.ALL_ACCEPTED
    if admit and code is ExitCode.INCONCLUSIVE:
        count = sum(report.verdict is Verdict.INCONCLUSIVE for report in reports)
        print(
            f"--admit-inconclusive: {count} inconclusive audit(s) let through; nothing was proved of them",
            file=sys.stderr,
        )
        return ExitCode.ALL_ACCEPTED
    return code


def _file(spec: str) -> Path:
    return Path(spec.partition("::")[0]).resolve()
