"""Re-checks what the witness of a rejection says of itself: numbers, pairs, counts and accounting. No candidate code runs."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import AuditReport, EventTrace, Finding, Relation, UsageError
from dpaudit.empirical.rectangle import Tally
from dpaudit.properties import exact_value, support_event
from dpaudit.properties.counterexample import read_counterexample
from dpaudit.replay.claim import claim_findings

RELATIVE = 1e-6
"""Relative gap that another machine's rounding explains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recheck:
    """What of one witness follows from the report.

    Attributes:
        finding: the finding that refutes.
        faults: what does not follow.
        checked: what was re-checked; empty if nothing in it could be.
        unchecked: what was not, because it needs the candidate.
    """

    finding: Finding
    faults: tuple[str, ...]
    checked: str
    unchecked: str


class WitnessFault(ValueError):
    """A witness says of itself what does not follow from it."""


def rechecks(report: AuditReport) -> Iterator[Recheck]:
    """One for every finding that refutes by itself, in the order of the report."""
    for finding in report.findings:
        if not finding.refutes:
            continue
        check, checked, unchecked = _CHECKS.get(finding.rule, (_nothing, "", "everything that it says of the code"))
        try:
            check(report, finding.evidence)
        except WitnessFault as error:
            yield Recheck(finding=finding, faults=(str(error),), checked="", unchecked=unchecked)
        except (KeyError, TypeError, ValueError, IndexError, UsageError, ArithmeticError) as error:
            fault = f"its evidence is not what this rule's is: {type(error).__name__}: {error}"
            yield Recheck(finding=finding, faults=(fault,), checked="", unchecked=unchecked)
        else:
            yield Recheck(finding=finding, faults=(), checked=checked, unchecked=unchecked)


def _nothing(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    """A rule whose evidence is what the code did."""


# ---- accounting -------------------------------------------------------------------------------------------------------


def _lower_end(report: AuditReport, sigmas: Sequence[float]) -> float:
    found = epsilon_bracket(EventTrace.of_run(report.config, tuple(sigmas)), report.config.target_delta).lower
    if found is None:
        raise WitnessFault(f"{report.config.cell} has no lower end, so that no schedule shows an overspending")
    return found


def _same(what: str, said: Any, again: float) -> None:
    if not math.isclose(float(said), again, rel_tol=RELATIVE):
        raise WitnessFault(f"it says {what} {float(said)!r}, and the record gives {again!r}")


def _above_target(report: AuditReport, epsilon: float) -> None:
    if not epsilon > report.config.target_epsilon:
        raise WitnessFault(f"epsilon {epsilon!r} is not above the target {report.config.target_epsilon!r}")


def _known(sigmas: Sequence[float | None], what: str) -> list[float]:
    known = [sigma for sigma in sigmas if sigma is not None]
    if not known or len(known) != len(sigmas):
        raise WitnessFault(f"the {what} schedule is not complete")
    return known


def _what_ran(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    again = _lower_end(report, _known(report.sigma.measured, "measured"))
    _same("epsilon", evidence["epsilon_lower"], again)
    _above_target(report, again)


def _what_was_reported(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    again = _lower_end(report, _known(report.sigma.reported, "reported"))
    _same("epsilon", evidence["epsilon_lower"], again)
    _above_target(report, again)


def _formula(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    reported = tuple(_known(report.sigma.reported, "reported"))
    for finding in claim_findings(report.config, reported, file="", rerun=""):
        if finding.rule == "DPA401":
            for name in ("claimed", "epsilon_lower"):
                _same(name, evidence[name], float(finding.evidence[name]))  # type: ignore[arg-type]
            return
    raise WitnessFault("the formula's epsilon is not below what the reported schedule costs")


def _false_report(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    step = int(evidence["step"])
    told, seen = report.sigma.reported[step], report.sigma.measured[step]
    if told is None or seen is None or not told > seen:
        raise WitnessFault(f"step {step}: reported {told!r} is not above measured {seen!r}")
    _same("the reported sigma", evidence["reported"], told)
    _same("the measured sigma", evidence["measured"], seen)


# ---- pairs ------------------------------------------------------------------------------------------------------------


def _pair(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    example = read_counterexample(evidence["counterexample"])
    step = int(evidence["step"])
    if not (0 <= step < report.config.total_steps and example.step == step):
        raise WitnessFault(f"its pair is of step {example.step}, the finding of step {step}")
    found, told = float(evidence["noise_multiplier"]), report.sigma.reported[step]
    if told is None or not found < told:
        raise WitnessFault(f"its noise multiplier {found!r} is not below the reported {told!r}")
    _same("the reported sigma", evidence["reported"], told)
    smallest, steps = float(evidence["smallest_noise_multiplier"]), int(evidence["demonstrated_steps"])
    if not (0 <= smallest <= found * (1 + RELATIVE) and 1 <= steps <= report.config.total_steps):
        raise WitnessFault(f"{steps} steps at {smallest!r} are not what one pair of this run can show")
    if smallest == 0:
        return
    # Each demonstrated step has at least the smallest multiplier, so that this is at least what they cost.
    most = _lower_end(report, [smallest] * steps)
    _above_target(report, most)
    if "epsilon_lower" in evidence and not float(evidence["epsilon_lower"]) <= most * (1 + RELATIVE):
        raise WitnessFault(f"it says epsilon {evidence['epsilon_lower']!r}; its steps cost at most {most!r}")


def _support(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    if "support" not in evidence:
        return
    faults = support_event.faults_in(evidence["support"], report.config)
    if faults:
        raise WitnessFault("; ".join(faults))


def _exact_value(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    faults = exact_value.faults_in(evidence, report.config)
    if faults:
        raise WitnessFault("; ".join(faults))


# ---- counts -----------------------------------------------------------------------------------------------------------


def _attack(report: AuditReport, evidence: Mapping[str, Any]) -> None:
    level = float(evidence["level"])
    if not 0 < level <= 1e-6:
        raise WitnessFault(f"it was refuted at level {level!r}, and the gate's is 1e-6")
    tallies = [Tally(**{name: int(n) for name, n in evidence[part].items()}) for part in ("test", "confirmation")]
    if str(evidence["cell"]) != str(report.config.cell):
        raise WitnessFault(f"it is of the cell {evidence['cell']}, the report of {report.config.cell}")
    if evidence["method"] != "per_step" or evidence["drawn_by"] != str(report.config.cell.sampler):
        return
    reported = _known(report.sigma.reported, "reported")
    reach = 2.0 if report.config.cell.relation is Relation.REPLACE_ONE else 1.0
    for tally in tallies:
        ends = tally.rectangle(level)
        if not (0 < ends.fpr < 1 and 0 < ends.fnr < 1):
            raise WitnessFault("its counts bound no error rate")
        shift = -NormalDist().inv_cdf(ends.fpr) - NormalDist().inv_cdf(ends.fnr)
        # The step is not in the record: of all steps, the one with the most noise is refuted by the least shift.
        factor = reach / shift / max(reported) if shift > 0 else math.inf
        if not (
            factor < 1 and _lower_end(report, [sigma * factor for sigma in reported]) > report.config.target_epsilon
        ):
            raise WitnessFault(f"its counts at level {level!r} do not refute the claim")


_Check = Callable[[AuditReport, Mapping[str, Any]], None]
_PAIR = "that this pair moves the release so far"
_CHECKS: dict[str, tuple[_Check, str, str]] = {
    "DPA201": (_pair, "its pair is well formed and what it demonstrates costs more than the target", _PAIR),
    "DPA214": (
        _support,
        "where it names a support: its chance and its delta follow from the values that both neighbours can release",
        "what the release is for every value of the noise",
    ),
    "DPA220": (
        _exact_value,
        "its counts refute the target at the gate's level",
        "that releases came out so",
    ),
    "DPA301": (
        _attack,
        "its counts are those of a test and a confirmation at the gate's level (and refute the claim, where it is of one step)",
        "that the attack counted so",
    ),
    "DPA401": (_formula, "both figures follow from the reported schedule", "that the mechanism reports it"),
    "DPA403": (_false_report, "its step is in the record", "that the noise was measured so"),
    "DPA404": (_what_ran, "its epsilon follows from the measured schedule", "that the noise was measured so"),
    "DPA405": (_what_was_reported, "its epsilon follows from the reported schedule", "that the mechanism reports it"),
}
"""For every rule whose evidence is data: the check, what it covers, and what is left to the candidate's code."""
