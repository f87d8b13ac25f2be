"""The sentences that every form of a report shares: what a verdict, a layer and a missing end mean."""

from typing import assert_never

from dpaudit.contract import AuditReport, Layer, Relation, Rows, Sampler, Verdict
from dpaudit.contract.cell import Cell

from .figures import lower_end, nearest, noise_factor, upper_end

NOT_PROVED = "not proved"
NO_REASON = "The report gives no reason."
NO_METHOD = "method not recorded"
BROKEN = "dpaudit itself failed in this audit. Nothing that it says may be used, whatever the verdict."
NOTHING_AUDITED = "Nothing was audited."


def verdict_mark(verdict: Verdict) -> str:
    """One sign a verdict, so that colour is never the only difference."""
    match verdict:
        case Verdict.ACCEPTED:
            return "✓"
        case Verdict.REJECTED:
            return "✗"
        case Verdict.INCONCLUSIVE:
            return "?"
    assert_never(verdict)


def verdict_meaning(report: AuditReport) -> str:
    """What this report's verdict says, with its numbers."""
    if report.broken:
        return BROKEN
    budget = f"epsilon {nearest(report.epsilon.target)} at delta {nearest(report.epsilon.delta)}"
    match report.verdict:
        case Verdict.ACCEPTED:
            return (
                f"For every pair of neighbours, every history and every input, this mechanism spends at most {budget}, "
                "given the assumptions below."
            )
        case Verdict.REJECTED:
            return f"The claim of {budget} does not hold. A witness against it is in this report."
        case Verdict.INCONCLUSIVE:
            return (
                f"Neither was shown: there is no proof that {budget} is kept, and no witness that it is broken. "
                "This is not a pass."
            )
    assert_never(report.verdict)


def untold_reasons(report: AuditReport) -> tuple[str, ...]:
    """The reasons of the verdict without those that a finding tells, with its place, further down."""
    told = {f"{finding.rule}: {finding.message}" for finding in report.findings}
    return tuple(reason for reason in report.reasons or (NO_REASON,) if reason not in told)


def layer_question(layer: Layer) -> str:
    """What a layer looks for."""
    match layer:
        case Layer.STATIC:
            return "bounds contribution and noise for all inputs"
        case Layer.PROPERTIES:
            return "searches hostile inputs for a counterexample"
        case Layer.EMPIRICAL:
            return "attacks with canaries for a lower bound"
        case Layer.REPLAY:
            return "accounts for the noise that was really added"
    assert_never(layer)


def cell_sentence(cell: Cell) -> str:
    """Which privacy question was asked, in words."""
    return f"{_sampler(cell.sampler)}; {_relation(cell.relation)}; {_rows(cell.rows)}; non-finite rows {cell.nonfinite}"


def honest_noise(report: AuditReport) -> str:
    """What would make the mechanism honest, or an empty string where nothing is known."""
    factor = report.honest_noise_factor
    if factor is None:
        return ""
    if not factor > 1:
        return f"The measured schedule meets the target as it is (noise factor {noise_factor(factor)})."
    return f"Multiply the noise by {noise_factor(factor)}, and the measured schedule meets the target."


def really_spends(report: AuditReport) -> str:
    """What the mechanism was shown to spend, from whichever ends were proved of what ran, else of what it reports."""
    replayed, attack = report.epsilon.replayed, report.epsilon.empirical_lower
    schedule = report.epsilon.reported_bracket
    parts = []
    if replayed.lower is not None:
        parts.append(f"at least {lower_end(replayed.lower)} (replayed)")
    if attack is not None:
        parts.append(f"at least {lower_end(attack)} (attack)")
    if replayed.upper is not None:
        parts.append(f"at most {upper_end(replayed.upper)} (replayed)")
    if not parts and schedule is not None and schedule.lower is not None:
        parts.append(f"what it reports costs at least {lower_end(schedule.lower)}; of what ran no number was proved")
    return ", ".join(parts) or "no number was proved"


def expectation(report: AuditReport) -> str:
    """Whether the verdict was the expected one; empty where nothing was expected."""
    if report.as_expected is None:
        return ""
    wanted = " or ".join(report.expected)
    return f"as expected ({wanted})" if report.as_expected else f"UNEXPECTED: {wanted} was expected"


def _sampler(sampler: Sampler) -> str:
    match sampler:
        case Sampler.POISSON:
            return "Poisson sampling"
        case Sampler.TRUNCATED_POISSON:
            return "Poisson sampling cut to the batch size"
        case Sampler.FIXED_SIZE:
            return "Fixed-size batches without replacement"
        case Sampler.SHUFFLE:
            return "Shuffled batches, each example once an epoch"
    assert_never(sampler)


def _relation(relation: Relation) -> str:
    match relation:
        case Relation.ADD_REMOVE:
            return "neighbours differ by one row added or removed"
        case Relation.ZERO_OUT:
            return "neighbours differ by one row set to zero"
        case Relation.REPLACE_ONE:
            return "neighbours differ by one row replaced"
    assert_never(relation)


def _rows(rows: Rows) -> str:
    match rows:
        case Rows.SAMPLED:
            return "the mechanism sees the sampled rows"
        case Rows.CONSTANT:
            return "the mechanism always sees the full number of rows"
    assert_never(rows)
