"""Account the reported and the measured schedule, and name every way in which they disagree or overspend."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import (
    Bracket,
    EventTrace,
    Finding,
    Measurement,
    Outcome,
    RunConfig,
    Severity,
    SpendRow,
    StaticResult,
    Strength,
    plain_number,
)

from .claim import claim_findings, claimed_epsilon
from .honest_noise import honest_factor, quotable_schedule
from .spend import spend_rows

SIGMA_TOLERANCE = 1e-5
"""Relative gap between two noise multipliers that is rounding, not a disagreement: float32 keeps about 1e-7 a value, and
norms and sums over a step add up to some 1e-6."""

UNDER_REPORT_TOLERANCE = 1e-2
"""Relative gap above which a report below the measured noise is worth a word. The measured noise is an upper bound
(its worst row was searched for), so a smaller gap says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What accounting says of the schedules.

    Attributes:
        claimed: epsilon by the claim's own accountant from the reported schedule; ``None`` if nothing usable was reported.
        reported: bracket of the reported schedule under a valid accountant in the audited cell.
        replayed: lower end from the measured schedule of one demonstrated pair, upper end from the static bound.
        effective: bracket of the smallest noise multiplier over the steps.
        honest_noise_factor: factor on all noise at which the measured schedule meets the target; ``None`` if unknown.
        spend: epsilon over the steps.
    """

    outcome: Outcome
    summary: str
    claimed: float | None
    reported: Bracket | None
    replayed: Bracket
    effective: Bracket
    honest_noise_factor: float | None
    findings: tuple[Finding, ...]
    seconds: float
    spend: tuple[SpendRow, ...] = ()


def replay(
    config: RunConfig, measurement: Measurement, static: StaticResult | None, *, file: str, rerun: str
) -> Replay:
    """Replay what was reported, measured and proved.

    Guarantee: ``replayed.lower`` is given only where one pair of neighbours and one history attained the measured noise
    at every step; ``replayed.upper`` only where the static layer bounded every step for all inputs.

    Args:
        file, rerun: the candidate's path and the command of this audit, for the findings.

    Raises:
        UnsupportedCellError: the cell has no valid accounting.
    """
    started = time.monotonic()
    reported = _complete(measurement.reported)
    measured = _complete(measurement.measured) if measurement.demonstrated else None
    reported_bracket = _account(config, reported)
    measured_bracket = _account(config, measured)
    replayed, effective = _combine(config, measured, measured_bracket, static)
    findings = (
        *claim_findings(config, reported, file=file, rerun=rerun),
        *_spending(config, reported, reported_bracket, measured, replayed, file, rerun),
        *_disagreements(config, reported, measured, replayed, static, file, rerun),
    )
    return Replay(
        outcome=_outcome(config, findings, replayed),
        summary=_summary(config, replayed, measurement),
        claimed=claimed_epsilon(config, reported, reported_bracket),
        reported=reported_bracket,
        replayed=replayed,
        effective=effective,
        honest_noise_factor=honest_factor(config, quotable_schedule(measurement, static)),
        findings=findings,
        spend=spend_rows(config, reported, measured, None if static is None else static.sigma_effective),
        seconds=time.monotonic() - started,
    )


def _complete(sigmas: tuple[float | None, ...]) -> tuple[float, ...] | None:
    """The schedule if every step has a number, else nothing: a hole is never filled in."""
    if not sigmas or any(sigma is None for sigma in sigmas):
        return None
    return tuple(sigma for sigma in sigmas if sigma is not None)


def _account(config: RunConfig, sigmas: tuple[float, ...] | None) -> Bracket | None:
    return None if sigmas is None else epsilon_bracket(EventTrace.of_run(config, sigmas), config.target_delta)


def _combine(
    config: RunConfig, measured: tuple[float, ...] | None, bracket: Bracket | None, static: StaticResult | None
) -> tuple[Bracket, Bracket]:
    """The brackets of epsilon and of the smallest noise multiplier: lower ends demonstrated, upper ends proved."""
    lower = None if bracket is None else bracket.lower
    lower_method = bracket.lower_method if bracket is not None else "no complete measured schedule of one pair"
    proved = None if static is None else static.sigma_effective
    if proved is None:
        why = "the static layer did not run" if static is None else "the static layer refused"
        upper, upper_method = None, f"no static bound: {why}"
    else:
        proof = epsilon_bracket(EventTrace.of_run(config, proved), config.target_delta)
        upper, upper_method = proof.upper, f"static bound, {proof.upper_method}"
    epsilon = Bracket(lower=lower, upper=upper, lower_method=lower_method, upper_method=upper_method)
    sigma = Bracket(
        lower=min(proved) if proved else None,
        upper=min(measured) if measured else None,
        lower_method="static bound for all inputs" if proved else upper_method,
        upper_method="measured on one demonstrated pair" if measured else lower_method,
    )
    return epsilon, sigma


def _spending(
    config: RunConfig,
    reported: tuple[float, ...] | None,
    reported_bracket: Bracket | None,
    measured: tuple[float, ...] | None,
    replayed: Bracket,
    file: str,
    rerun: str,
) -> Iterator[Finding]:
    target = config.target_epsilon
    where = f"({config.cell}, delta {config.target_delta:g})"
    if replayed.lower is not None and replayed.lower > target:
        yield Finding(
            rule="DPA404",
            severity=Severity.CRITICAL,
            strength=Strength.PROOF,
            message=f"what ran costs epsilon >= {replayed.lower:.4g} {where}; the target is {target:g}.",
            file=file,
            evidence={"epsilon_lower": plain_number(replayed.lower), "method": replayed.lower_method, "target": target},
            rerun=rerun,
        )
    lower = None if reported_bracket is None else reported_bracket.lower
    if lower is None or not lower > target:
        return
    if reported and measured and _at_most(reported, measured):
        # Either what ran overspends as well, and DPA404 says so; or the report overspends only because it understates
        # noise that was measured to be there, and DPA406 says so.
        return
    yield Finding(
        rule="DPA405",
        severity=Severity.CRITICAL,
        strength=Strength.PROOF,
        message=f"the schedule it reports costs epsilon >= {lower:.4g} {where}; the target is {target:g}.",
        file=file,
        evidence={"epsilon_lower": plain_number(lower), "target": target},
        rerun=rerun,
    )


def _disagreements(
    config: RunConfig,
    reported: tuple[float, ...] | None,
    measured: tuple[float, ...] | None,
    replayed: Bracket,
    static: StaticResult | None,
    file: str,
    rerun: str,
) -> Iterator[Finding]:
    if reported is None or measured is None:
        return
    over = [step for step in range(len(reported)) if not reported[step] <= measured[step] * (1 + SIGMA_TOLERANCE)]
    if over:
        step = max(over, key=lambda index: reported[index] / measured[index] if measured[index] > 0 else float("inf"))
        overspent = replayed.lower is not None and replayed.lower > config.target_epsilon
        yield Finding(
            rule="DPA403",
            severity=Severity.CRITICAL if overspent else Severity.MAJOR,
            strength=Strength.PROOF,
            message=(
                f"reported sigma exceeds the measured one at {len(over)} of {len(reported)} steps, first at step {over[0]}; "
                f"widest at step {step}: reported {reported[step]:.6g}, measured {measured[step]:.6g}."
            ),
            file=file,
            evidence={
                "step": step,
                "reported": plain_number(reported[step]),
                "measured": plain_number(measured[step]),
                "steps": len(over),
            },
            rerun=rerun,
        )
    # The measured noise is an upper bound on the truth, so only a static bound PROVES that more noise is there.
    proved = None if static is None else static.sigma_effective
    floor = measured if proved is None else proved
    tolerance = UNDER_REPORT_TOLERANCE
    under = [step for step in range(len(reported)) if reported[step] < floor[step] * (1 - tolerance)]
    if under:
        step = min(under, key=lambda index: reported[index] / floor[index])
        yield Finding(
            rule="DPA406",
            severity=Severity.MINOR,
            strength=Strength.HEURISTIC if proved is None else Strength.PROOF,
            message=(
                f"reported sigma is below the {'measured' if proved is None else 'proved'} one at {len(under)} of "
                f"{len(reported)} steps; widest at step {step}: reported {reported[step]:.6g}, there is {floor[step]:.6g}."
            ),
            file=file,
            evidence={"step": step, "reported": plain_number(reported[step]), "measured": plain_number(floor[step])},
            rerun=rerun,
        )


def _at_most(reported: tuple[float, ...], measured: tuple[float, ...]) -> bool:
    return all(told <= seen * (1 + SIGMA_TOLERANCE) for told, seen in zip(reported, measured, strict=True))


def _outcome(config: RunConfig, findings: tuple[Finding, ...], replayed: Bracket) -> Outcome:
    if any(finding.refutes for finding in findings):
        return Outcome.VIOLATED
    kept = replayed.upper is not None and replayed.upper <= config.target_epsilon
    misreported = any(finding.severity is not Severity.MINOR for finding in findings)
    return Outcome.PASSED if kept and not misreported else Outcome.INCONCLUSIVE


def _summary(config: RunConfig, replayed: Bracket, measurement: Measurement) -> str:
    read = sum(sigma is not None for sigma in measurement.measured)
    lower = "not shown" if replayed.lower is None else f"{replayed.lower:.4g}"
    upper = "not proved" if replayed.upper is None else f"{replayed.upper:.4g}"
    return (
        f"noise read at {read} of {config.total_steps} steps; epsilon at least {lower}, at most {upper} "
        f"(target {config.target_epsilon:g})"
    )
