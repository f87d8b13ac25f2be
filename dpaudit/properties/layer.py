"""``search``: the properties layer's public entry."""

import math
import time
from dataclasses import replace

from dpaudit.contract import (
    AuditBrokenError,
    EventTrace,
    Finding,
    Measurement,
    Outcome,
    PlainData,
    Relation,
    RunConfig,
    Sampler,
    Severity,
    Strength,
    UsageError,
    plain_number,
)
from dpaudit.probe import MechanismSource
from dpaudit.probe.messages import InvalidMessage, Request
from dpaudit.probe.problem import Problem
from dpaudit.probe.sandbox import ask

from .counterexample import read_counterexample, snippet
from .exact_value import exact_value_findings
from .report import Report, decode_report
from .request import request_of
from .result import PropertyResult, WorstContribution
from .support_event import with_support
from .wording import BEFORE

DEFAULT_TIME_LIMIT = 120.0
_SMALLEST = 1e-3
_CANNOT_RUN = {"DPA011", "DPA012", "DPA013", "DPA014", "DPA015"}


def search(
    source: MechanismSource,
    config: RunConfig,
    measurement: Measurement,
    *,
    seed: int = 0,
    time_limit: float = DEFAULT_TIME_LIMIT,
) -> PropertyResult:
    """Search for an input and a state at which the mechanism breaks a promise, and shrink what is found.

    Guarantee: every finding of strength PROOF comes with a pair of inputs that the candidate was run on. PASSED says that
    nothing was found, not that nothing is there. A finding DPA201 is CRITICAL only if the steps at which ONE pair was
    demonstrated along ONE run would cost more than the target, all other steps counted as free. An epsilon is quoted only
    where all other rows are zeros whose number changes nothing. A finding DPA220 rests on counting, at level 1e-6.

    Assumptions: contributions are judged to a relative 1e-3 (float64; 1e-2 where only float32 shows an excess), at small
    shapes with the real number of tensors, rows and steps.

    Args:
        source: the candidate; its code runs in another process only.
        config: the run.
        measurement: the probe's; a mechanism that it could not run is not searched.
        seed: of the random search and of the mechanism's default generators.
        time_limit: seconds of work for the candidate's process, after it has started.

    Raises:
        UsageError: the time limit is not positive, or the configuration names no parameters.
        UnsupportedCellError: the cell has no valid accounting.
        AuditBrokenError: the layer itself failed.
    """
    if not time_limit > 0:
        raise UsageError(f"properties: expected a positive time limit, got {time_limit!r} s")
    if not config.parameter_shapes:
        raise UsageError("properties: the run configuration names no parameter_shapes; give those of the model trained")
    started = time.monotonic()
    stopped = next((f for f in measurement.findings if f.rule in {"DPA011", "DPA013"}), None)
    if stopped is not None:
        return _nothing(f"not searched: {stopped.message}", (), started)
    request = request_of(source, config, time_limit=time_limit, seed=seed)
    answer = _searched(request)
    if isinstance(answer, Problem):
        return _nothing(answer.message, (_finding(answer, source, config),), started)
    epsilon = _demonstrated_epsilon(config, dict(answer.demonstrated))
    findings = tuple(
        _weighed(_finding(p, source, config), config, epsilon, answer, measurement) for p in answer.problems
    )
    findings = tuple(
        with_support(finding, source, config, time_limit)
        if finding.rule == "DPA214" and "dtype" in finding.evidence
        else finding
        for finding in findings
    )
    if _in_doubt(findings, answer, measurement):
        findings += exact_value_findings(source, config, time_limit)
    return PropertyResult(
        outcome=_outcome(findings, answer),
        summary=_summary(findings, answer),
        findings=findings,
        worst_contribution=_worst(answer),
        seconds=time.monotonic() - started,
        demonstrated_epsilon=epsilon,
        notes=answer.notes,
    )


def _in_doubt(findings: tuple[Finding, ...], report: Report, measurement: Measurement) -> bool:
    """Whether something is wrong or unread, and nothing refutes yet: then releases are worth counting."""
    if any(finding.refutes for finding in (*findings, *measurement.findings)):
        return False
    return Outcome.PASSED is not _outcome(findings, report) or measurement.outcome is not Outcome.PASSED


def _searched(request: Request) -> Report | Problem:
    answer = ask("dpaudit.properties.child", request)
    if isinstance(answer, Problem):
        return answer
    try:
        return decode_report(answer, request.config.total_steps)
    except InvalidMessage as error:
        raise AuditBrokenError(f"properties: invalid result for {request.path}: {error}") from error


def _demonstrated_epsilon(config: RunConfig, sigmas: dict[int, float]) -> float | None:
    """Lower end of epsilon from these steps alone: the others are given infinite noise.

    Multipliers below a thousandth are raised to it, which can only lower the result.
    """
    if not sigmas:
        return None
    # Imported here: the child imports this package too, and has no use for seconds of accounting imports.
    from dpaudit.accounting import epsilon_bracket

    schedule = tuple(max(sigmas.get(step, math.inf), _SMALLEST) for step in range(config.total_steps))
    return epsilon_bracket(EventTrace.of_run(config, schedule), config.target_delta).lower


def _weighed_emptiness(finding: Finding, config: RunConfig, measurement: Measurement) -> Finding:
    """Empty batches that show void the claim if the demonstrated pair, with what they tell of it, costs more than the target."""
    cell, visible = config.cell, finding.evidence.get("visible_steps")
    sigmas = [sigma for sigma in measurement.measured if sigma is not None]
    asked = cell.sampler is Sampler.POISSON and cell.relation is Relation.ADD_REMOVE and not config.preparation
    if not (
        asked
        and measurement.demonstrated
        and len(sigmas) == config.total_steps
        and isinstance(visible, int)
        and visible
    ):
        return finding
    from dpaudit.accounting.visible_emptiness import epsilon_with_visible_emptiness

    if not 0.05 <= max(sigmas) < math.inf or config.sampling_probability >= 1 or config.target_delta <= 0:
        return finding
    epsilon = epsilon_with_visible_emptiness(
        sigma=max(sigmas),
        sampling_probability=config.sampling_probability,
        dataset_size=config.dataset_size,
        steps=config.total_steps,
        visible=visible,
        delta=config.target_delta,
    )
    if not epsilon > config.target_epsilon:
        return finding
    message = (
        f"{finding.message}. At {visible} of {config.total_steps} steps of a run it would show; with the demonstrated pair that "
        f"costs epsilon >= {epsilon:.4g}, the target is {config.target_epsilon:g}"
    )
    evidence: dict[str, PlainData] = {
        **finding.evidence,
        "epsilon_lower": plain_number(epsilon),
        "target": config.target_epsilon,
        "largest_noise_multiplier": max(sigmas),
    }
    return replace(finding, severity=Severity.CRITICAL, message=message, evidence=evidence)


def _weighed(
    finding: Finding, config: RunConfig, epsilon: float | None, report: Report, measurement: Measurement
) -> Finding:
    """What a contribution above the bound does to the claim.

    It voids the claim if the demonstrated steps alone overspend. Where the other rows matter no epsilon follows; the claim's
    sensitivity is refuted by the pair all the same, and CRITICAL if so large a contribution would overspend as a bound.
    """
    target = config.target_epsilon
    if finding.rule == "DPA212":
        return _weighed_emptiness(finding, config, measurement)
    if finding.rule != "DPA201":
        return finding
    if epsilon is not None and epsilon > target:
        smallest = min(sigma for _, sigma in report.demonstrated)
        evidence: dict[str, PlainData] = {
            **finding.evidence,
            "epsilon_lower": plain_number(epsilon),
            "target": target,
            "demonstrated_steps": len(report.demonstrated),
            "smallest_noise_multiplier": smallest,
        }
        message = (
            f"{finding.message}. Along one run, all other rows being zero, one pair attains {smallest:.4g} at "
            f"{len(report.demonstrated)} steps, which alone cost epsilon >= {epsilon:.4g}; the target is {target:g}"
        )
        return replace(finding, severity=Severity.CRITICAL, message=message, evidence=evidence)
    as_bound = _demonstrated_epsilon(config, dict(report.beside_others))
    if as_bound is None or not as_bound > target:
        return finding
    smallest = min(sigma for _, sigma in report.beside_others)
    evidence = {
        **finding.evidence,
        "target": target,
        "demonstrated_steps": len(report.beside_others),
        "smallest_noise_multiplier": smallest,
        "other_rows_matter": True,
    }
    message = (
        f"{finding.message}. The worst row found has {smallest:.4g}, and along one run {len(report.beside_others)} steps "
        "like it: no accounting with the reported multiplier covers this pair. How far the row moves the sum depends on the "
        "other rows, which the sampler draws, so no epsilon is quoted"
    )
    return replace(finding, severity=Severity.CRITICAL, message=message, evidence=evidence)


def _finding(problem: Problem, source: MechanismSource, config: RunConfig) -> Finding:
    evidence = dict(problem.evidence)
    raw = evidence.get("counterexample")
    if isinstance(raw, dict):
        try:
            found = read_counterexample(raw)
        except (ValueError, KeyError, TypeError):
            evidence.pop("counterexample")  # the finding stands; only its program cannot be written
        else:
            if not evidence.get(BEFORE):
                evidence["snippet"] = snippet(source, config, found, f"{problem.rule}: {problem.message}")
    return Finding(
        rule=problem.rule,
        severity=problem.severity,
        strength=problem.strength,
        message=problem.message,
        file=source.path,
        line=problem.line,
        evidence=evidence,
    )


def _outcome(findings: tuple[Finding, ...], report: Report) -> Outcome:
    """PASSED needs a complete search with rows judged, and nothing above MINOR. Code that does not run violates nothing."""
    above = [finding for finding in findings if finding.severity is not Severity.MINOR]
    if any(finding.strength is not Strength.HEURISTIC and finding.rule not in _CANNOT_RUN for finding in above):
        return Outcome.VIOLATED
    complete = not report.incomplete and report.tried > 0 and report.worst is not None
    return Outcome.PASSED if complete and not above else Outcome.INCONCLUSIVE


def _summary(findings: tuple[Finding, ...], report: Report) -> str:
    worst = "" if report.worst is None else f"; smallest noise multiplier found {report.worst:.4g}"
    missing = f"; not done: {'; '.join(report.incomplete)}" if report.incomplete else ""
    rules = ", ".join(dict.fromkeys(finding.rule for finding in findings))
    return f"{report.tried} rows tried{worst}; {'found ' + rules if rules else 'no counterexample'}{missing}"


def _worst(report: Report) -> WorstContribution | None:
    if report.worst is None:
        return None
    return WorstContribution(noise_multiplier=report.worst, reported=report.worst_reported, pair=report.worst_pair)


def _nothing(summary: str, findings: tuple[Finding, ...], started: float) -> PropertyResult:
    return PropertyResult(
        outcome=Outcome.INCONCLUSIVE,
        summary=summary,
        findings=findings,
        worst_contribution=None,
        seconds=time.monotonic() - started,
    )
