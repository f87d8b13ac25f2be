"""What the attacks on trainings share: scores at a place become bounds and a curve, and all places become one result."""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np

from dpaudit.contract import (
    AttackReport,
    BoundRecord,
    DataError,
    Finding,
    Outcome,
    PlaceRecord,
    ReplayedStepRecord,
    RocRecord,
    RunConfig,
    Severity,
    Strength,
    plain_number,
)
from dpaudit.empirical import AttackPlan, EmpiricalResult, LowerBound, ModePlan, Scores
from dpaudit.empirical.bound import Design
from dpaudit.empirical.roc import LOW_RATES, claimed_roc, roc, true_positives_at
from dpaudit.empirical.score_audit import Claim, Place, counted_bound, printed_bounds, refuted
from dpaudit.probe import MechanismSource
from dpaudit.report import write_attack
from harness.candidate import Candidate
from harness.confined import TrainingFailure

TIME_LIMIT_SECONDS = 24 * 3600.0
"""For one training task of an attack; a user who waits can interrupt, and what is finished is kept."""
_SECONDS_PER_NUMBER = 1e-8
"""Rough cost of one number of a per-sample gradient in training, for plans only."""
_CURVE = np.unique(np.concatenate([np.geomspace(1e-4, 1.0, 30), np.linspace(0.0, 1.0, 31)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one place brought. ``confirmed`` repeats the refutation on fresh seeds; it stays "" where there was none."""

    place: Place
    words: str
    bounds: tuple[LowerBound, ...]
    curve: RocRecord
    refuted_by: str
    confirmed: str = ""

    @property
    def counted(self) -> LowerBound | None:
        """The bound that was chosen in advance."""
        return counted_bound(self.bounds, self.place.design)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One attack under way: what all of its conclusions name."""

    mode: str
    source: MechanismSource
    config: RunConfig
    claim: Claim
    places: tuple[Place, ...]
    started: float
    seconds_planned: float


def listen(scores: Scores, claim: Claim, place: Place, *, words: str, seed: int) -> Heard:
    """Bounds, curve and refutation of one place's scores."""
    return Heard(
        place=place,
        words=words,
        bounds=printed_bounds(scores, claim, place, seed=seed),
        curve=_curve(scores, claim, independent=place.design is Design.INDEPENDENT),
        refuted_by=refuted(scores, claim, place),
    )


def confirmed(heard: Sequence[Heard], again: Callable[[], dict[str, Scores]], claim: Claim) -> tuple[Heard, ...]:
    """Every refuted place on the scores of fresh seeds, which ``again`` brings; called only where something was refuted."""
    if not any(one.refuted_by for one in heard):
        return tuple(heard)
    fresh = again()
    return tuple(
        replace(one, confirmed=refuted(fresh[one.place.name], claim, one.place)) if one.refuted_by else one
        for one in heard
    )


def conclude(
    session: Session,
    heard: Sequence[Heard],
    *,
    findings: Sequence[Finding] = (),
    notes: Sequence[str] = (),
) -> EmpiricalResult:
    """Fold the places into one result, fail-closed.

    VIOLATED needs a refutation that fresh seeds confirmed. PASSED needs a place where a perfect attack would have refuted,
    and no finding. All else is INCONCLUSIVE.
    """
    refutations = tuple(_refutation(session, one) for one in heard if one.confirmed)
    outcome, summary = _outcome(session, heard, findings)
    counted = [one.counted for one in heard]
    best = max((bound for bound in counted if bound is not None), key=lambda bound: bound.epsilon, default=None)
    return EmpiricalResult(
        outcome=outcome,
        summary=summary,
        epsilon_lower=None if best is None else best.epsilon,
        method="" if best is None else f"{best.method}, {best.design}, family {best.family}, level {best.level:g}",
        ceiling=max((place.ceiling for place in session.places), default=0.0),
        bounds=tuple(replace(bound, note=_at(one, bound)) for one in heard for bound in one.bounds),
        findings=(*refutations, *findings),
        plan=plan_of(session),
        seconds=time.monotonic() - session.started,
        notes=tuple(notes),
        longer=tuple(_longer(place) for place in session.places if not place.able),
    )


def failed(session: Session, failure: TrainingFailure) -> EmpiricalResult:
    """The result where the mechanism did not train: nothing was heard.

    Raises:
        DataError: the data set is absent or unreadable, which is no fault of the mechanism.
    """
    if failure.kind == "no_data":
        raise DataError(failure.message)
    finding = Finding(
        rule="DPA501",
        severity=Severity.MAJOR,
        strength=Strength.PROOF,
        message=failure.message,
        file=session.source.display,
        line=failure.line,
    )
    return conclude(session, (), findings=(finding,), notes=("nothing was scored: the training did not end",))


def plan_of(session: Session) -> AttackPlan:
    """The places as a plan: shares, needed counts and rough seconds, all made before any compute."""
    return AttackPlan(
        modes=tuple(
            ModePlan(
                mode=place.name,
                gate_level=place.gate_level,
                print_level=place.print_level,
                needed=place.needed,
                calls=session.config.total_steps,
                seconds=session.seconds_planned,
            )
            for place in session.places
        ),
        schedules=() if session.claim.trace is None else ("reported",),
        budget_seconds=session.seconds_planned,
    )


def training_seconds(config: RunConfig, *, rows: float) -> float:
    """Rough processor time of one training with ``rows`` rows a step."""
    return config.total_steps * rows * config.n_params * _SECONDS_PER_NUMBER


def write_report(
    arguments: argparse.Namespace,
    session: Session,
    result: EmpiricalResult,
    heard: Sequence[Heard],
    *,
    command: str,
    accuracy: Sequence[tuple[str, float, str]] = (),
    replayed: Sequence[ReplayedStepRecord] = (),
) -> None:
    """The pages of ``--out``, if it was given."""
    if not arguments.out:
        return
    packages = ("dpaudit", "torch", "numpy", "scipy", "dp-accounting")
    report = AttackReport(
        mode=session.mode,
        mechanism=session.source.display,
        class_name=session.source.class_name,
        source_sha256=session.source.sha256,
        config=session.config,
        outcome=result.outcome,
        summary=result.summary,
        epsilon_lower=result.epsilon_lower,
        places=tuple(_place_record(one) for one in heard),
        accuracy=tuple(accuracy),
        replayed=tuple(replayed),
        findings=result.findings,
        notes=result.notes,
        command=command,
        seconds=result.seconds,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    )
    write_attack(report, Path(arguments.out))


def require_source(source: MechanismSource, candidate: Candidate) -> None:
    """Audit and training read the same bytes.

    Raises:
        DataError: the file changed in between.
    """
    if source.sha256 != candidate.sha256:
        raise DataError(f"attack: {candidate.path} changed while it was being read; run the attack again")


def _outcome(session: Session, heard: Sequence[Heard], findings: Sequence[Finding]) -> tuple[Outcome, str]:
    config = session.config
    target = f"epsilon {config.target_epsilon:g} at delta {config.target_delta:g}"
    for one in heard:
        if one.confirmed:
            return Outcome.VIOLATED, f"{target} is refuted ({one.place.name}, {one.refuted_by}), confirmed"
    for one in heard:
        if one.refuted_by:
            return (
                Outcome.INCONCLUSIVE,
                f"{target}: {one.place.name} refuted once ({one.refuted_by}), fresh seeds did not confirm it",
            )
    if findings:
        return Outcome.INCONCLUSIVE, f"{target}: {findings[0].message}"
    if not heard:
        return Outcome.INCONCLUSIVE, f"{target}: nothing was heard"
    counted = [one.counted for one in heard]
    lower = max((bound.epsilon for bound in counted if bound is not None), default=0.0)
    able = [one.place for one in heard if one.place.able]
    if able:
        return Outcome.PASSED, (
            f"nothing found against {target}: epsilon >= {lower:.3g} was shown, up to "
            f"{max(place.ceiling for place in able):.3g} could have been ({', '.join(place.name for place in able)})"
        )
    return Outcome.INCONCLUSIVE, (
        f"underpowered: these counts could not have refuted {target}. "
        + "; ".join(_longer(place) for place in session.places)
    )


def _longer(place: Place) -> str:
    what = "canaries" if place.design is Design.ONE_RUN else "runs"
    needed = "no number would suffice" if place.needed is None else f"at least {place.needed} {what} are needed"
    return f"{place.name}: {needed}, there are {place.trials}"


def _refutation(session: Session, one: Heard) -> Finding:
    config, bound = session.config, one.counted
    shown = (
        "" if bound is None else f"; epsilon is at least {bound.epsilon:.4g} at level {bound.level:g} ({bound.method})"
    )
    return Finding(
        rule="DPA301",
        severity=Severity.CRITICAL,
        strength=Strength.STATISTICAL,
        message=(
            f"the claim epsilon {config.target_epsilon:g} at delta {config.target_delta:g} is refuted at level "
            f"{one.place.gate_level:g} by {one.place.name} of a {session.mode} attack ({one.refuted_by}) and confirmed with "
            f"fresh seeds{shown}"
        ),
        file=session.source.display,
        evidence={
            "level": one.place.gate_level,
            "method": one.refuted_by,
            "attack": one.words,
            "design": str(one.place.design),
            "counts": {} if bound is None else dict(bound.counts),
            "epsilon_lower": None if bound is None else plain_number(bound.epsilon),
            "cell": str(config.cell),
        },
    )


def _at(one: Heard, bound: LowerBound) -> str:
    """Where a bound was heard, and what was to be known of it."""
    counts = "counts; " if one.counted is bound else ""
    return f"{one.place.name}: {counts}{bound.note}".rstrip("; ").rstrip(": ")


def _place_record(one: Heard) -> PlaceRecord:
    place = one.place
    return PlaceRecord(
        name=place.name,
        words=one.words,
        design=str(place.design),
        trials=place.trials,
        gate_level=place.gate_level,
        ceiling=place.ceiling,
        able=place.able,
        needed=place.needed,
        refuted_by=one.refuted_by if one.confirmed else f"{one.refuted_by}, not confirmed" if one.refuted_by else "",
        bounds=tuple(
            BoundRecord(
                method=bound.method,
                epsilon=bound.epsilon,
                ceiling=bound.ceiling,
                level=bound.level,
                design=str(bound.design),
                family=str(bound.family),
                valid=bound.valid,
                counts_here=bound is one.counted,
                noise_deficit=bound.noise_deficit,
                counts=dict(bound.counts),
                note=bound.note,
            )
            for bound in one.bounds
        ),
        roc=one.curve,
    )


def _curve(scores: Scores, claim: Claim, *, independent: bool) -> RocRecord:
    found = roc(scores)
    claimed: tuple[tuple[float, float], ...] = ()
    if claim.budget is not None:
        claimed = tuple(zip(_CURVE.tolist(), claimed_roc(claim.budget, _CURVE).tolist(), strict=True))
    return RocRecord(
        fpr=tuple(found.fpr.tolist()),
        tpr=tuple(found.tpr.tolist()),
        lower=tuple(found.lower.tolist()),
        upper=tuple(found.upper.tolist()),
        level=found.level,
        bands_valid=independent,
        claimed=claimed,
        auc=found.auc,
        at_low_rates=tuple((rate, true_positives_at(scores, rate)) for rate in LOW_RATES),
    )
