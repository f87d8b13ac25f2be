"""The decision rule: from layer records, findings and the epsilon bracket to a verdict. Pure, and fail-closed.

ACCEPTED: for every pair of neighbours in the named cell, every history and every input, epsilon is at most the target,
given the printed assumptions. REJECTED: a witness against the claim is in the report. Everything else: INCONCLUSIVE.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpaudit.contract import Bracket, Finding, Layer, LayerRecord, Outcome, Severity, Verdict

REQUIRED_LAYERS = (Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY)
"""Without all of these an audit never ends ACCEPTED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and the sentences that led to it, the deciding one first."""

    verdict: Verdict
    reasons: tuple[str, ...]


def decide(
    *,
    layers: Sequence[LayerRecord],
    findings: Sequence[Finding],
    replayed: Bracket,
    target_epsilon: float,
    required: Sequence[Layer] = (),
) -> Decision:
    """Fold everything that an audit saw into one verdict.

    Guarantee: ACCEPTED only if the upper end of ``replayed`` is a number at most ``target_epsilon``, every required
    layer ran and PASSED, no layer was VIOLATED or ERRORED, and no finding is worse than MINOR. REJECTED only on a
    finding that is CRITICAL and more than a heuristic, and never when two layers of dpaudit contradict each other. An
    empty input is INCONCLUSIVE. ``required`` adds layers to :data:`REQUIRED_LAYERS`; none can be taken away.
    """
    if any(finding.rule == "DPA002" for finding in findings):
        return Decision(verdict=Verdict.INCONCLUSIVE, reasons=tuple(_messages(findings, "DPA002")))
    witnesses = tuple(f"{finding.rule}: {finding.message}" for finding in findings if finding.refutes)
    if witnesses:
        return Decision(verdict=Verdict.REJECTED, reasons=witnesses)
    missing = tuple(_obstacles(layers, findings, replayed, target_epsilon, required))
    if not missing:
        assert replayed.upper is not None
        return Decision(
            verdict=Verdict.ACCEPTED,
            reasons=(
                f"epsilon is at most {replayed.upper:.4g} for all inputs ({replayed.upper_method}); "
                f"the target is {target_epsilon:g}",
            ),
        )
    return Decision(verdict=Verdict.INCONCLUSIVE, reasons=missing)


def _obstacles(
    layers: Sequence[LayerRecord],
    findings: Sequence[Finding],
    replayed: Bracket,
    target: float,
    required: Sequence[Layer],
) -> Iterator[str]:
    """Everything that stands between this audit and ACCEPTED."""
    yield from (f"{finding.rule}: {finding.message}" for finding in findings if finding.severity is not Severity.MINOR)
    if replayed.upper is None:
        yield f"no upper end for epsilon: {replayed.upper_method or 'no static bound'}"
    elif not replayed.upper <= target:
        yield f"epsilon is proved to be at most {replayed.upper:.4g} only; the target is {target:g}"
    records = {record.layer: record for record in layers}
    needed = tuple(dict.fromkeys((*REQUIRED_LAYERS, *required)))
    for layer in needed:
        record = records.get(layer)
        if record is None or not record.ran:
            yield f"the required layer {layer} did not run" + (f": {record.summary}" if record else "")
        elif record.outcome is not Outcome.PASSED and not (layer is Layer.REPLAY and replayed.upper is None):
            yield f"the required layer {layer} ended {record.outcome}: {record.summary}"
    for record in layers:
        if record.layer not in needed and record.outcome in {Outcome.ERRORED, Outcome.VIOLATED}:
            yield f"the layer {record.layer} ended {record.outcome}: {record.summary}"


def _messages(findings: Sequence[Finding], rule: str) -> Iterator[str]:
    return (f"{finding.rule}: {finding.message}" for finding in findings if finding.rule == rule)
