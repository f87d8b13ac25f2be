"""``measure``: the probe's public entry."""

import time
from collections.abc import Callable
from dataclasses import replace

from dpaudit.contract import Finding, Measurement, NoiseClass, Outcome, RunConfig, Severity, UsageError

from .messages import Request, Result
from .problem import Problem
from .sandbox import run_worker
from .source import MechanismSource
from .unwatched import compare, plans, run_clean


def measure(
    source: MechanismSource,
    config: RunConfig,
    *,
    seed: int = 0,
    time_limit: float = 120.0,
    memory_limit_mib: int = 4096,
    progress: Callable[[int, int], None] | None = None,
) -> Measurement:
    """Read the noise multiplier of every step of a run, hidden state, and dependence on data.

    Guarantee: ``measured`` bounds the noise multiplier from above, up to relative rounding of 1e-9 (3e-6 where the
    mechanism rounds to float32): with ``demonstrated``, one pair of neighbours and one history attain it at every
    step. A step that cannot be read is UNRESOLVED. It is no upper bound on the privacy loss: other rows may be worse.

    Assumptions: Gaussian draws of torch, numpy and ``random`` are independent of what was drawn before; the mechanism
    does not tell small shapes from the real ones except where both were looked at (see ``notes``).

    Args:
        source: the candidate; its code runs in another process only.
        config: the run; ``parameter_shapes`` are the real shapes.
        seed: of base rows, canaries and the mechanism's default generators.
        time_limit: seconds of work for the candidate's process (:mod:`.work_clock`), after it has started.
        memory_limit_mib: private memory of that process.
        progress: called with (steps read, steps in all).

    Raises:
        UsageError: a limit is not positive, or the configuration names no parameters.
        AuditBrokenError: the probe itself failed.
    """
    if not time_limit > 0 or not memory_limit_mib > 0:
        raise UsageError(
            f"probe: expected a positive time limit and memory limit, got {time_limit!r} s and {memory_limit_mib!r} MiB"
        )
    if not config.parameter_shapes:
        raise UsageError("probe: the run configuration names no parameter_shapes; give the shapes of the model trained")
    started = time.monotonic()
    request = Request(
        text=source.text,
        path=source.path,
        class_name=source.class_name,
        config=config,
        seed=seed,
        time_limit=time_limit,
        memory_limit_mib=memory_limit_mib,
    )
    answer = run_worker(request, progress)
    result = _nothing_read(config, answer) if isinstance(answer, Problem) else _compared(request, answer)
    findings = tuple(_finding(problem, source) for problem in result.problems)
    return Measurement(
        outcome=_outcome(result, findings),
        reported=result.reported,
        measured=result.measured,
        classes=result.classes,
        demonstrated=result.demonstrated,
        pair=result.pair,
        findings=findings,
        seconds=time.monotonic() - started,
        notes=result.notes,
        checks=result.checks,
        post_processed=result.post_processed,
    )


def _compared(request: Request, result: Result) -> Result:
    """The result, with what a comparison with a process that nothing watches adds to it."""
    if not all(measured is not None for measured in result.measured):
        return result  # nothing that was read could be relied upon anyway
    clean = run_clean(request, plans(request))
    found = compare(request, [list(statistics) for statistics in result.watched], clean)
    result = replace(
        result,
        notes=(*result.notes, found.limit) if found.limit else result.notes,
        checks=(*result.checks, found.held) if found.held else result.checks,
    )
    if found.problem is None:
        return result
    return replace(result, problems=(*result.problems, found.problem), demonstrated=False)


def _outcome(result: Result, findings: tuple[Finding, ...]) -> Outcome:
    """PASSED needs every step read clean with a usable report, and nothing found above MINOR."""
    if any(finding.refutes for finding in findings):
        return Outcome.VIOLATED
    clean = bool(result.classes) and all(noise_class is NoiseClass.CLEAN for noise_class in result.classes)
    told = all(value is not None for value in (*result.measured, *result.reported))
    minor = all(finding.severity is Severity.MINOR for finding in findings)
    return Outcome.PASSED if clean and told and minor else Outcome.INCONCLUSIVE


def _nothing_read(config: RunConfig, problem: Problem) -> Result:
    steps = config.total_steps
    return Result(
        reported=(None,) * steps,
        measured=(None,) * steps,
        classes=(NoiseClass.UNRESOLVED,) * steps,
        demonstrated=False,
        pair="",
        problems=(problem,),
        notes=(),
    )


def _finding(problem: Problem, source: MechanismSource) -> Finding:
    return Finding(
        rule=problem.rule,
        severity=problem.severity,
        strength=problem.strength,
        message=problem.message,
        file=source.path,
        line=problem.line,
        evidence=problem.evidence,
        rerun=f"dpaudit gate {source.display}",
    )
