"""``dpaudit gate``: audit every mechanism, print or write the report, end with the verdicts' exit code."""

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from dpaudit.contract import AuditReport, ExitCode, Form, UsageError, Verdict, fold_exit_code
from dpaudit.gate import Expectation, audit, plan_layers, read_expectations
from dpaudit.report import to_json, to_text, write_reports

from .progress import Progress
from .targets import expand
from .training import trainer


def run(arguments: argparse.Namespace) -> ExitCode:
    """Audit ``arguments.paths``. Every mechanism gets a verdict, whatever the others do."""
    import harness

    layers = plan_layers(arguments.layers)
    specs = expand(arguments.paths)
    config = harness.run_config(
        arguments.preset,
        noise_multiplier=arguments.noise_multiplier,
        calibration=arguments.calibration,
        relation=arguments.relation,
        rows=arguments.rows,
        sampler=arguments.sampler,
        nonfinite=arguments.nonfinite,
    )
    if arguments.accuracy not in ("none", *harness.DATASET_PRESETS):
        raise UsageError(
            f"--accuracy: expected one of none, {', '.join(harness.DATASET_PRESETS)}, got {arguments.accuracy!r}"
        )
    expectations = read_expectations(Path(arguments.expect), arguments.preset) if arguments.expect else {}
    scratch = nullcontext(arguments.out) if arguments.out else tempfile.TemporaryDirectory(prefix="dpaudit-")
    with scratch as folder, Progress(quiet=arguments.quiet) as progress:

        def examine(spec: str) -> AuditReport:
            bar = progress.bar(spec)
            try:
                report = audit(
                    spec,
                    config,
                    layers=layers,
                    train=trainer(spec, config, arguments, Path(folder) / "runs", bar),
                    command=_command(spec, arguments),
                    time_limit=arguments.time_limit,
                    progress=bar.advance,
                    form=Form(arguments.form or Form.PLAIN),
                )
            finally:
                bar.end()
            return _with_expectation(report, expectations.get(_file(spec)))

        reports = _in_order(examine, specs, arguments.jobs)
    if arguments.out:
        reports = tuple(with_rerun(report, Path(arguments.out) / "report.json") for report in reports)
    _emit(reports, arguments)
    surprises = _surprises(reports, expectations) if arguments.expect else ()
    for line in surprises:
        print(line, file=sys.stderr)
    return _exit_code(reports, bool(arguments.expect), bool(surprises), arguments.admit_inconclusive)


def _in_order(examine: Callable[[str], AuditReport], specs: Sequence[str], jobs: int) -> tuple[AuditReport, ...]:
    """Examine up to ``jobs`` mechanisms at once; the heavy work is in processes of their own. Results in order."""
    pool = ThreadPoolExecutor(max_workers=jobs)
    try:
        return tuple(pool.map(examine, specs))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _emit(reports: Sequence[AuditReport], arguments: argparse.Namespace) -> None:
    if arguments.out:
        written = write_reports(reports, Path(arguments.out))
        print(f"reports written to {arguments.out} ({len(written)} files); start at index.html", file=sys.stderr)
    elif arguments.format == "html":
        raise UsageError("--format html: expected --out DIR to write the pages to")
    if arguments.format == "json":
        sys.stdout.write(to_json(reports))
    elif arguments.format == "text":
        sys.stdout.write(to_text(reports, colour=sys.stdout.isatty() and not arguments.no_colour))


def _with_expectation(report: AuditReport, expectation: Expectation | None) -> AuditReport:
    return report if expectation is None else replace(report, expected=expectation.verdicts)


def with_rerun(report: AuditReport, record: Path) -> AuditReport:
    """Findings with the command that shows each of them again from the written report."""
    findings = tuple(
        replace(
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


def _command(spec: str, arguments: argparse.Namespace) -> str:
    """The command that repeats the audit of one mechanism, without training and output options."""
    words = ["dpaudit", "gate", spec, "--preset", arguments.preset]
    for name in ("noise_multiplier", "calibration", "layers", "relation", "rows", "sampler", "nonfinite", "form"):
        value = getattr(arguments, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--accuracy", "none"])
