"""Run the layers of one audit, each behind a wall: a layer that crashes is recorded, and the others go on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from dpaudit.contract import (
    Bracket,
    CurvesRecord,
    Finding,
    Layer,
    LayerRecord,
    Measurement,
    NoiseClass,
    Outcome,
    RunConfig,
    RunRecord,
    Severity,
    StaticResult,
    Strength,
    UsageError,
)
from dpaudit.contract.forms import cut_into_chunks
from dpaudit.empirical import GATE, attack, attack_curves
from dpaudit.probe import MechanismSource
from dpaudit.properties import DEFAULT_TIME_LIMIT, search
from dpaudit.replay import compare_ledger, replay
from dpaudit.static import analyse

from .consistency import contradictions, refuted_proof
from .watch import Watch

ATTACK_SECONDS = 60.0
"""What the attacks of one audit may take, without starting their worker; most take a tenth of it."""

_CANNOT_RUN = frozenset({"DPA001", "DPA012", "DPA013", "DPA014"})
_NOTHING = Bracket(lower=None, upper=None, lower_method="replay did not run", upper_method="replay did not run")


@dataclass(slots=True, kw_only=True)
class LayerRuns:
    """What the layers of one audit brought together. Filled in by :func:`run_layers`."""

    records: tuple[LayerRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    static: StaticResult | None = None
    worst_found: float | None = None
    empirical_lower: float | None = None
    claimed: float | None = None
    reported: Bracket | None = None
    replayed: Bracket = field(default=_NOTHING)
    effective: Bracket = field(default=_NOTHING)
    honest_noise_factor: float | None = None
    curves: CurvesRecord = field(default_factory=CurvesRecord)


def run_layers(
    source: MechanismSource,
    config: RunConfig,
    measurement: Measurement,
    layers: Sequence[Layer],
    records: Sequence[RunRecord],
    *,
    command: str,
    time_limit: float | None = None,
    told: Sequence[Finding] = (),
    watch: Watch | None = None,
) -> LayerRuns:
    """Run the chosen layers. A layer that raises ends ERRORED with a finding DPA001; usage errors pass through.

    Args:
        time_limit: seconds that the candidate gets in the static layer, and again in the property search; by default those
            of each layer.
        watch: told what is under way.
        told: what records of attacks brought; held against the layers' proofs like what the layers find.
    """
    runs = LayerRuns()
    steps: dict[Layer, Callable[[], LayerRecord]] = {
        Layer.STATIC: lambda: _static(runs, source, config, time_limit),
        Layer.PROPERTIES: lambda: _properties(runs, source, config, measurement, time_limit),
        Layer.EMPIRICAL: lambda: _empirical(runs, source, config, measurement, watch),
        Layer.REPLAY: lambda: _replay(runs, source, config, measurement, records, command),
    }
    # Replay goes last, for it needs the static bound; its findings lead, for they say what the mechanism costs.
    for layer in Layer:
        before, runs.findings = runs.findings, ()
        if watch is not None and layer in layers:
            watch.begin(str(layer))
        runs.records += (_guarded(runs, layer, source, steps.get(layer) if layer in layers else None),)
        runs.findings = (*runs.findings, *before) if layer is Layer.REPLAY else (*before, *runs.findings)
    runs.findings += tuple(told)
    try:
        runs.findings += tuple(contradictions(measurement, runs.static, runs.worst_found, file=source.display))
        runs.findings += tuple(refuted_proof(runs.findings, runs.replayed, config.target_epsilon, file=source.display))
    except Exception as error:
        runs.findings += (_crash(source, "the comparison of layers", error),)
    return runs


def broken_measurement(source: MechanismSource, config: RunConfig, error: Exception) -> Measurement:
    """A measurement that says that the probe itself failed."""
    steps = config.total_steps
    return Measurement(
        outcome=Outcome.ERRORED,
        reported=(None,) * steps,
        measured=(None,) * steps,
        classes=(NoiseClass.UNRESOLVED,) * steps,
        demonstrated=False,
        pair="",
        findings=(_crash(source, "the probe", error),),
        seconds=0.0,
    )


def _guarded(
    runs: LayerRuns, layer: Layer, source: MechanismSource, step: Callable[[], LayerRecord] | None
) -> LayerRecord:
    if step is None:
        return LayerRecord(
            layer=layer, outcome=Outcome.NOT_APPLICABLE, ran=False, summary="not among the layers asked for"
        )
    started = time.monotonic()
    try:
        return step()
    except UsageError:
        raise
    except Exception as error:
        runs.findings += (_crash(source, f"the layer {layer}", error),)
        return LayerRecord(
            layer=layer,
            outcome=Outcome.ERRORED,
            ran=True,
            summary=f"{type(error).__name__}: {error}",
            seconds=time.monotonic() - started,
        )


def _static(runs: LayerRuns, source: MechanismSource, config: RunConfig, time_limit: float | None) -> LayerRecord:
    limit = 60.0 + config.total_steps / 20 if time_limit is None else time_limit
    result = analyse(replace(source, text=cut_into_chunks(source.text, source.class_name)), config, time_limit=limit)
    runs.static = result
    runs.findings += result.findings
    if result.sigma_effective is None:
        assert result.refusal is not None
        runs.findings += () if result.refusal in result.findings else (result.refusal,)
        outcome, summary = Outcome.INCONCLUSIVE, f"refused: {result.refusal.message}"
        summary += f" {result.conditional}" if result.conditional else ""
    else:
        outcome = Outcome.PASSED
        summary = f"noise multiplier at least {min(result.sigma_effective):.6g} at every step, for all inputs"
    return LayerRecord(layer=Layer.STATIC, outcome=outcome, ran=True, summary=summary, seconds=result.seconds)


def _properties(
    runs: LayerRuns, source: MechanismSource, config: RunConfig, measurement: Measurement, time_limit: float | None
) -> LayerRecord:
    limit = DEFAULT_TIME_LIMIT if time_limit is None else time_limit
    result = search(source, config, measurement, time_limit=limit)
    runs.findings += result.findings
    runs.worst_found = None if result.worst_contribution is None else result.worst_contribution.noise_multiplier
    return LayerRecord(
        layer=Layer.PROPERTIES,
        outcome=result.outcome,
        ran=True,
        summary=result.summary,
        seconds=result.seconds,
    )


def _empirical(
    runs: LayerRuns, source: MechanismSource, config: RunConfig, measurement: Measurement, watch: Watch | None
) -> LayerRecord:
    """The cheap attacks, within :data:`ATTACK_SECONDS`. No required layer: what it cannot show leaves the verdict alone."""
    unusable = [finding for finding in measurement.findings if finding.rule in _CANNOT_RUN]
    if unusable:
        summary = f"not played, the probe could not run the mechanism: {unusable[0].rule}"
        return LayerRecord(layer=Layer.EMPIRICAL, outcome=Outcome.INCONCLUSIVE, ran=False, summary=summary)
    result = attack(source, config, measurement, budget_seconds=ATTACK_SECONDS, effort=GATE, progress=_told(watch))
    runs.findings += result.findings
    runs.empirical_lower = result.epsilon_lower
    runs.curves = replace(runs.curves, tradeoffs=attack_curves(config, measurement, result))
    summary = f"{result.summary} ({result.seconds:.0f} s; at most {ATTACK_SECONDS:g} s are spent)"
    if result.longer:
        summary += f". A longer attack: {'; '.join(result.longer)}"
    return LayerRecord(layer=Layer.EMPIRICAL, outcome=result.outcome, ran=True, summary=summary, seconds=result.seconds)


def _told(watch: Watch | None) -> Callable[[str, float, float], None] | None:
    """The attack's own progress (what is played, seconds spent, seconds at most) for the one who watches the audit."""
    if watch is None:
        return None
    doing = ""

    def progress(what: str, spent: float, budget: float) -> None:
        nonlocal doing
        if what != doing:
            doing = what
            watch.begin(f"{Layer.EMPIRICAL}, {what}")
        watch.advance(round(spent), round(budget))

    return progress


def _replay(
    runs: LayerRuns,
    source: MechanismSource,
    config: RunConfig,
    measurement: Measurement,
    records: Sequence[RunRecord],
    command: str,
) -> LayerRecord:
    result = replay(config, measurement, runs.static, file=source.display, rerun=command)
    ledger = tuple(
        finding
        for record in records
        if record.config == config
        for finding in compare_ledger(config, measurement, record, file=source.display, rerun=command)
    )
    runs.findings += (*result.findings, *ledger)
    runs.claimed, runs.reported = result.claimed, result.reported
    runs.replayed, runs.effective = result.replayed, result.effective
    runs.honest_noise_factor = result.honest_noise_factor
    runs.curves = replace(runs.curves, spend=result.spend)
    # The probe's own outcome bounds the layer's: a schedule that could not be read was not replayed.
    outcome = measurement.outcome if measurement.outcome is not Outcome.PASSED else result.outcome
    return LayerRecord(
        layer=Layer.REPLAY,
        outcome=outcome,
        ran=True,
        summary="; ".join((result.summary, *measurement.checks)),
        seconds=measurement.seconds + result.seconds,
    )


def _crash(source: MechanismSource, where: str, error: Exception) -> Finding:
    return Finding(
        rule="DPA001",
        severity=Severity.MAJOR,
        strength=Strength.PROOF,
        message=f"{where} of dpaudit crashed: {type(error).__name__}: {error}",
        file=source.display,
    )
