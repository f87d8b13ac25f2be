"""One finding of a report, shown again: its stored pair, or the narrowest audit that can show it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dpaudit.contract import AuditReport, Finding, Layer, PlainData, UsageError, plain_number
from dpaudit.probe import MechanismSource
from dpaudit.properties import PairReading, measure_pair

from .attack_records import is_from_attack
from .auditing import audit

TOLERANCE = 1e-3
"""Relative excess of a contribution that is rounding, as in the property search."""

_ROUNDING_TOLERANCE = 1e-2
"""The same for what float32 or half precision shows (DPA213)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """Whether a finding shows again.

    Attributes:
        reproduced: ``None`` where it could not be decided.
        how: what was run.
        before, after: numbers of the report and of now, by name.
        said: what is to be said beside the numbers.
        broken: whether the audit itself failed.
    """

    reproduced: bool | None
    how: str
    before: Mapping[str, PlainData]
    after: Mapping[str, PlainData]
    said: str = ""
    broken: bool = False


def reproduce(report: AuditReport, finding: Finding, source: MechanismSource) -> Reproduction:
    """Run one finding of a report again, under the report's own run configuration.

    Guarantee: ``reproduced`` is true only if the same rule is broken again: by the same pair where the report holds one, else
    by a finding of that rule in a new audit of the layer that found it (at the same line, where it names one).

    Raises:
        UsageError: the finding is about a training run, or its stored pair is malformed.
        AuditBrokenError: the measurement itself failed.
    """
    pair = finding.evidence.get("counterexample")
    if isinstance(pair, Mapping):
        return _by_pair(report, finding, source, pair)
    if finding.rule.startswith("DPA5") or finding.rule == "DPA407":
        raise UsageError(
            f"rerun: {finding.rule} is about a training run, which is not repeated here; use the audit's own command: "
            f"{report.command or 'dpaudit gate'}"
        )
    if is_from_attack(finding):
        raise UsageError(
            f"rerun: {finding.rule} was found by an attack on trainings, which is not repeated here: {finding.rerun}"
        )
    return _by_audit(report, finding)


def _by_pair(
    report: AuditReport, finding: Finding, source: MechanismSource, pair: Mapping[str, PlainData]
) -> Reproduction:
    limit = 120.0 + report.config.total_steps / 20
    try:
        reading = measure_pair(source, report.config, pair, time_limit=limit)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"rerun: the report's pair for {finding.rule} is not one that dpaudit wrote: {error}; audit the mechanism again"
        ) from None
    names = {"noise_multiplier": "noise_multiplier", "sigma": "noise_multiplier", "reported": "reported"}
    before = {
        names.get(name, name): finding.evidence[name]
        for name in (*names, "relative_change")
        if name in finding.evidence
    }
    if finding.rule == "DPA216" or (finding.rule == "DPA209" and "sigma" not in finding.evidence):
        before = {"release": "not finite", **before}
    how = f"the stored pair at step {pair.get('step')}"
    if reading.failed:
        return Reproduction(
            reproduced=None, how=how, before=before, after={}, said=f"nothing measured: {reading.failed}"
        )
    after: dict[str, PlainData] = {"release": "finite" if reading.finite else "not finite"}
    for name in ("noise_multiplier", "reported", "relative_change"):
        value = getattr(reading, name)
        if value is not None:
            after[name] = plain_number(value)
    return Reproduction(reproduced=_shows(finding, reading), how=how, before=before, after=after)


def _shows(finding: Finding, reading: PairReading) -> bool:
    """Whether a pair's reading breaks the finding's rule."""
    sigma, reported = reading.noise_multiplier, reading.reported
    match finding.rule:
        case "DPA216":
            return not reading.finite
        case "DPA209" if "sigma" not in finding.evidence:
            return not reading.finite
        case "DPA202" | "DPA208":
            return reading.relative_change is not None
        case "DPA204" | "DPA205" | "DPA206":
            return sigma == 0
        case _:
            tolerance = TOLERANCE if finding.rule == "DPA201" else _ROUNDING_TOLERANCE
            return sigma is not None and reported is not None and sigma < reported * (1 - tolerance)


def _by_audit(report: AuditReport, finding: Finding) -> Reproduction:
    """Audit again with as few layers as can show the finding: the probe alone first, where it may be enough."""
    tried: list[str] = []
    newest: Finding | None = None
    for layers in _narrowest(report, finding):
        again = audit(report.mechanism, report.config, layers=layers, command=report.command)
        tried.append(", ".join(layers) or "the probe")
        newest = _same(finding, again.findings)
        if newest is not None:
            break
        if again.broken:
            why = next((f.message for f in again.findings if f.rule in {"DPA001", "DPA002"}), again.reasons[0])
            return Reproduction(
                reproduced=None, how=f"audit by {tried[-1]}", before={}, after={}, said=why, broken=True
            )
    how = f"audit by {' and by '.join(tried)}"
    before = {"message": finding.message, **_numbers(finding)}
    if newest is None:
        return Reproduction(reproduced=False, how=how, before=before, after={}, said="no such finding now")
    return Reproduction(reproduced=True, how=how, before=before, after={"message": newest.message, **_numbers(newest)})


def _narrowest(report: AuditReport, finding: Finding) -> Iterator[tuple[Layer, ...]]:
    match finding.rule[:4]:
        case "DPA1":
            yield (Layer.STATIC,)
        case "DPA2":
            yield ()
            yield (Layer.PROPERTIES,)
        case "DPA3":
            yield (Layer.EMPIRICAL,)
        case "DPA4":
            yield (Layer.REPLAY,)
        case _ if finding.rule not in {"DPA001", "DPA002"}:
            yield ()  # loading and running, which the probe does
        case _:
            yield tuple(record.layer for record in report.layers if record.ran)


def _same(finding: Finding, others: tuple[Finding, ...]) -> Finding | None:
    """The finding of the same rule, at the same line if there is one and lines are named."""
    alike = [other for other in others if other.rule == finding.rule]
    exact = [other for other in alike if other.line == finding.line]
    unplaced = [other for other in alike if finding.line is None or other.line is None]
    return next(iter((*exact, *unplaced)), None)


def _numbers(finding: Finding) -> dict[str, PlainData]:
    return {
        name: value
        for name, value in finding.evidence.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
