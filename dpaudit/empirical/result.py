"""EmpiricalResult: what the attacks of one audit concluded, and the fold from what was heard to an outcome."""

from dataclasses import dataclass, field, replace

from dpaudit.contract import Finding, Outcome, RunConfig, Sampler, Severity, Strength, plain_number
from dpaudit.probe import MechanismSource

from .bound import Family, LowerBound
from .planning import AttackPlan, ModePlan
from .rectangle import Tally
from .stage import CandidateFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class EmpiricalResult:
    """What the attacks of one audit concluded.

    Attributes:
        outcome: VIOLATED (refuted and confirmed), PASSED (nothing found by an attack that could have found it),
            INCONCLUSIVE (underpowered, unconfirmed, or the candidate failed).
        epsilon_lower: best valid bound at 95 %, family-wise over the modes; ``None`` if no attack came to its end.
        method: of that bound, with its design and family.
        ceiling: largest bound that a perfect attack with the same counts would have given at the gate's level.
        bounds: all printed bounds.
        plan: made before any compute.
        longer: what a longer attack would add, a sentence for each mode.
        heard: what each mode brought, in the order of play.
    """

    outcome: Outcome
    summary: str
    epsilon_lower: float | None
    method: str
    ceiling: float
    bounds: tuple[LowerBound, ...]
    findings: tuple[Finding, ...]
    plan: AttackPlan
    seconds: float
    notes: tuple[str, ...] = ()
    longer: tuple[str, ...] = ()
    heard: "tuple[Heard, ...]" = ()


@dataclass(slots=True)
class Heard:
    """What one mode brought. ``able``: a perfect attack with these counts would have refuted the claim."""

    mode: ModePlan
    bounds: list[LowerBound] = field(default_factory=list)
    ceiling: float = 0.0
    able: bool = False
    refuted_by: str = ""
    confirmed: bool = False
    words: str = ""
    step: int = 0
    seconds_per_call: float = 0.0
    tallies: list[Tally] = field(default_factory=list)


def result_of(
    source: MechanismSource,
    config: RunConfig,
    plan: AttackPlan,
    heard: list[Heard],
    failure: CandidateFailed | None,
    seconds: float,
    *,
    drawn: Sampler | None = None,
) -> EmpiricalResult:
    """Fold everything into one result. ``drawn``: how batches were drawn, where that is not what the claim assumes."""
    if drawn is not None:
        for found in heard:
            found.bounds = [_outside_family(bound, drawn) for bound in found.bounds]
    bounds = tuple(bound for found in heard for bound in found.bounds)
    best = max((bound for bound in bounds if bound.valid), key=lambda bound: bound.epsilon, default=None)
    findings = [_refutation(source, config, found, drawn) for found in heard if found.confirmed]
    if failure is not None:
        findings.append(_failure(source, failure))
    outcome, summary = _conclusion(config, plan, heard, failure)
    return EmpiricalResult(
        outcome=outcome,
        summary=summary,
        epsilon_lower=None if best is None else best.epsilon,
        method="" if best is None else f"{best.method}, {best.design}, family {best.family}, level {best.level:g}",
        ceiling=max((found.ceiling for found in heard), default=0.0),
        bounds=bounds,
        findings=tuple(findings),
        plan=plan,
        seconds=seconds,
        notes=(*plan.notes, *(f"{found.mode.mode}: {found.words}" for found in heard)),
        heard=tuple(heard),
    )


def _conclusion(
    config: RunConfig, plan: AttackPlan, heard: list[Heard], failure: CandidateFailed | None
) -> tuple[Outcome, str]:
    """Fail-closed: PASSED only after an attack that ran to its end, could have refuted, and did not."""
    target = f"epsilon {config.target_epsilon:g} at delta {config.target_delta:g}"
    for found in heard:
        if found.confirmed:
            return (
                Outcome.VIOLATED,
                f"{target} is refuted by the {found.mode.mode} attack ({found.refuted_by}), confirmed",
            )
    if failure is not None:
        return Outcome.INCONCLUSIVE, f"the attack could not be played to its end: {failure}"
    for found in heard:
        if found.refuted_by:
            return (
                Outcome.INCONCLUSIVE,
                f"{target}: the {found.mode.mode} attack refuted once, fresh seeds did not confirm it",
            )
    lower = max((bound.epsilon for found in heard for bound in found.bounds if bound.valid), default=0.0)
    if any(found.able for found in heard):
        able = ", ".join(found.mode.mode for found in heard if found.able)
        ceiling = max(found.ceiling for found in heard)
        return Outcome.PASSED, (
            f"nothing found against {target}: epsilon >= {lower:.3g} was shown, up to {ceiling:.3g} could have been ({able})"
        )
    wants = "; ".join(
        f"{mode.mode}: {'no number suffices' if mode.needed is None else f'at least {mode.needed} trials in each world'}"
        for mode in plan.modes
    )
    return Outcome.INCONCLUSIVE, f"underpowered: these counts could not have refuted {target}. Needed: {wants}"


def _outside_family(bound: LowerBound, drawn: Sampler) -> LowerBound:
    """An epsilon of the declared event's family means nothing for a run of another event; its curve is refuted or not."""
    if bound.family is not Family.ACCOUNTANT:
        return bound
    return replace(bound, valid=False, note=f"batches were drawn by {drawn}: no member of the declared family")


def _refutation(source: MechanismSource, config: RunConfig, found: Heard, drawn: Sampler | None) -> Finding:
    first, second = found.tallies
    bound = max((bound for bound in found.bounds if bound.valid), key=lambda item: item.epsilon, default=None)
    claim = f"the claim epsilon {config.target_epsilon:g} at delta {config.target_delta:g}"
    if drawn is not None:
        claim = f"{claim}, accounted as {config.cell.sampler} while batches are drawn by {drawn}: its trade-off curve"
    shown = (
        "" if bound is None else f"; epsilon is at least {bound.epsilon:.4g} at level {bound.level:g} ({bound.method})"
    )
    return Finding(
        rule="DPA301",
        severity=Severity.CRITICAL,
        strength=Strength.STATISTICAL,
        message=(
            f"{claim} is refuted at level {found.mode.gate_level:g} by the {found.mode.mode} attack ({found.refuted_by}) "
            f"and confirmed with fresh seeds{shown}"
        ),
        file=source.display,
        evidence={
            "level": found.mode.gate_level,
            "method": found.refuted_by,
            "attack": found.words,
            "test": dict(first.counts),
            "confirmation": dict(second.counts),
            "epsilon_lower": None if bound is None else plain_number(bound.epsilon),
            "cell": str(config.cell),
            "drawn_by": str(drawn or config.cell.sampler),
        },
    )


def _failure(source: MechanismSource, failure: CandidateFailed) -> Finding:
    rule = failure.rule if failure.rule in {"DPA011", "DPA012", "DPA013", "DPA014"} else "DPA012"
    return Finding(
        rule=rule,
        severity=Severity.MAJOR,
        strength=Strength.PROOF,
        message=f"while it was attacked: {failure}",
        file=source.display,
        line=failure.line,
    )
