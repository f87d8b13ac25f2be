"""An audit of a recorded run alone: what it reports is accounted; no code is seen, so nothing is ever ACCEPTED."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dpaudit.contract import (
    AuditReport,
    CurvesRecord,
    EpsilonRecord,
    Finding,
    Layer,
    LayerRecord,
    Measurement,
    Outcome,
    RecordedRun,
    RunConfig,
    Severity,
    SigmaRecord,
    Strength,
)
from dpaudit.replay import recorded_findings, replay
from dpaudit.replay.schedules import SIGMA_TOLERANCE

from .auditing import now, versions
from .decision import decide
from .limits import assumptions, sentences

_WHY = "a recorded ledger holds no code"


def audit_record(
    name: str,
    config: RunConfig,
    measurement: Measurement,
    *,
    record: RecordedRun | None = None,
    further: Sequence[Finding] = (),
    command: str = "",
) -> AuditReport:
    """Replay a recorded run under ``config``.

    Guarantee: REJECTED only where the record convicts itself: a schedule that is on record costs more than the target, or what
    is on record as released holds no noise (``dpaudit.replay.recorded_claim``); else INCONCLUSIVE, for static and properties
    did not run. What the record says was measured is the recorder's word and gives no end of ``replayed``.

    Args:
        further: findings of what lies beside the record; they count with it.
    """
    started = time.monotonic()
    result = replay(config, measurement, None, file=name, rerun=command)
    contradictions = () if record is None else tuple(recorded_findings(config, record, file=name))
    found = (*result.findings, *_unreported(name, measurement), *contradictions, *further)
    findings = tuple(replace(finding, rerun=command) for finding in found)
    outcome = Outcome.VIOLATED if any(finding.refutes for finding in findings) else Outcome.INCONCLUSIVE
    records = tuple(
        LayerRecord(layer=layer, outcome=outcome, ran=True, summary=result.summary, seconds=result.seconds)
        if layer is Layer.REPLAY
        else LayerRecord(layer=layer, outcome=Outcome.NOT_APPLICABLE, ran=False, summary=_WHY)
        for layer in Layer
    )
    decision = decide(layers=records, findings=findings, replayed=result.replayed, target_epsilon=config.target_epsilon)
    return AuditReport(
        mechanism=name,
        class_name="",
        source_sha256=_sha256(name),
        config=config,
        verdict=decision.verdict,
        reasons=decision.reasons,
        layers=records,
        findings=findings,
        epsilon=EpsilonRecord(
            target=config.target_epsilon,
            delta=config.target_delta,
            reported=result.claimed,
            reported_bracket=result.reported,
            replayed=result.replayed,
            empirical_lower=None,
        ),
        sigma=SigmaRecord(
            reported=measurement.reported,
            measured=measurement.measured,
            classes=measurement.classes,
            effective=result.effective,
        ),
        accuracy=(),
        honest_noise_factor=result.honest_noise_factor,
        curves=CurvesRecord(spend=result.spend),
        assumptions=tuple(assumptions(config, ledgers=1)),
        blind_spots=sentences(measurement.notes),
        command=command,
        seconds=time.monotonic() - started,
        created=now(),
        versions=versions(),
    )


def _unreported(name: str, measurement: Measurement) -> Iterator[Finding]:
    """Steps at which the record says that less noise was there than was reported."""
    pairs = [
        (step, told, seen)
        for step, (told, seen) in enumerate(zip(measurement.reported, measurement.measured, strict=True))
        if told is not None and seen is not None and not told <= seen * (1 + SIGMA_TOLERANCE)
    ]
    if not pairs:
        return
    step, told, seen = max(pairs, key=lambda pair: pair[1] / pair[2] if pair[2] else float("inf"))
    yield Finding(
        rule="DPA403",
        severity=Severity.MAJOR,
        strength=Strength.HEURISTIC,
        message=(
            f"the record reports more noise than it says was there at {len(pairs)} of {len(measurement.reported)} steps; widest "
            f"at step {step}: reported {told:.6g}, noise over largest contribution {seen:.6g}"
        ),
        file=name,
        evidence={"step": step, "reported": told, "measured": seen, "steps": len(pairs)},
    )


def _sha256(name: str) -> str:
    path = Path(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
