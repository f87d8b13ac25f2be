"""``dpaudit verify``: re-check the arithmetic of a report from the report alone. No candidate code runs."""

import argparse
import math
from collections.abc import Iterator

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import AuditReport, Bracket, EventTrace, ExitCode, UsageError, Verdict
from dpaudit.static import CertificateError
from dpaudit.static import verify as verify_certificate

from .records import read_record
from .witness import rechecks


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print a line for each audit of ``report.json``; code 3 if something in it does not follow."""
    reports = read_record(arguments.path, "verify")
    if not reports:
        print("nothing to verify: the report holds no audit")
        return ExitCode.NOTHING_AUDITED
    failed = False
    for report in reports:
        faults = tuple(faults_of(report))
        failed = failed or bool(faults)
        print(f"{report.mechanism}: {report.verdict}: {'; '.join(faults) or _checked(report)}")
        for line in _witnesses(report):
            print(f"  {line}")
    return ExitCode.BROKEN if failed else ExitCode.ALL_ACCEPTED


def faults_of(report: AuditReport) -> Iterator[str]:
    """What in a report does not follow from the report's own record.

    For ACCEPTED: every step's noise multiplier follows from the certificate's expressions, and its accounting from them is
    within the target. For REJECTED: what every witness says of itself follows from its data (:mod:`.witness`). For every verdict:
    the recorded ends of ``replayed`` follow from the recorded schedules.
    Not covered, because it needs the candidate: that the expressions are those of the code, and that a measured pair behaves as
    recorded. The command in the report repeats both.
    """
    measured = _complete(report.sigma.measured)
    if report.epsilon.replayed.lower is not None:
        yield from _lower_faults(report, measured)
    if report.verdict is Verdict.ACCEPTED or report.epsilon.replayed.upper is not None:
        yield from _upper_faults(report)
    if report.verdict is Verdict.REJECTED and not any(finding.refutes for finding in report.findings):
        yield "REJECTED without a finding that refutes"
    for recheck in rechecks(report):
        yield from (f"{recheck.finding.rule} does not follow: {fault}" for fault in recheck.faults)


def _lower_faults(report: AuditReport, measured: tuple[float, ...] | None) -> Iterator[str]:
    if measured is None:
        yield "a lower end of epsilon without a complete measured schedule"
        return
    again = _account(report, measured).lower
    if again is None or not _close(again, report.epsilon.replayed.lower):
        yield f"the lower end {report.epsilon.replayed.lower!r} does not follow: the measured schedule gives {again!r}"


def _upper_faults(report: AuditReport) -> Iterator[str]:
    try:
        sigmas = verify_certificate(report.certificate)
        bracket = _account(report, sigmas)
    except (CertificateError, UsageError, KeyError, TypeError, IndexError, ValueError) as error:
        yield f"the certificate does not check: {type(error).__name__}: {error}"
        return
    if bracket.upper is None or not _close(bracket.upper, report.epsilon.replayed.upper):
        yield f"the upper end {report.epsilon.replayed.upper!r} does not follow: the certificate gives {bracket.upper!r}"
    elif report.verdict is Verdict.ACCEPTED and not bracket.upper <= report.epsilon.target:
        yield f"ACCEPTED although the certificate gives epsilon {bracket.upper!r} above the target {report.epsilon.target!r}"


def _account(report: AuditReport, sigmas: tuple[float, ...]) -> Bracket:
    return epsilon_bracket(EventTrace.of_run(report.config, sigmas), report.config.target_delta)


def _complete(sigmas: tuple[float | None, ...]) -> tuple[float, ...] | None:
    known = tuple(sigma for sigma in sigmas if sigma is not None)
    return known if sigmas and len(known) == len(sigmas) else None


def _close(first: float, second: float | None) -> bool:
    """Equal up to what another machine's rounding may change."""
    return second is not None and (first == second or math.isclose(first, second, rel_tol=1e-6))


def _witnesses(report: AuditReport) -> Iterator[str]:
    """For every finding that refutes: what was re-checked of it, and what was not."""
    for recheck in rechecks(report):
        again = recheck.finding.rerun or report.command or "run the audit again"
        state = "does not follow" if recheck.faults else f"re-checked: {recheck.checked or 'nothing'}"
        yield f"{recheck.finding.rule}: {state}; not re-checked, for it needs the code: {recheck.unchecked} ({again})"


def _checked(report: AuditReport) -> str:
    ends = report.epsilon.replayed
    if ends.lower is None and ends.upper is None:
        return "no end of epsilon to re-check"
    sides = [name for name, end in (("lower", ends.lower), ("upper", ends.upper)) if end is not None]
    verb = "ends of epsilon follow" if len(sides) > 1 else "end of epsilon follows"
    return f"the {' and '.join(sides)} {verb} from the record"
