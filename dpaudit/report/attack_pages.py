"""An :class:`~dpaudit.contract.AttackReport` as JSON, as text and as a page."""

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from dpaudit.contract import ATTACK_SCHEMA, RULES, AttackReport, PlaceRecord

from .figures import duration_text, lower_end, nearest
from .html import TEMPLATES, config_rows
from .report_plots import Plot
from .stable_json import JsonData, dump
from .svg_roc import roc_plot
from .untrusted import one_line, visible
from .write import write_text


def write_attack(report: AttackReport, out: Path) -> tuple[Path, ...]:
    """Write ``attack.json``, ``attack.txt`` and ``attack.html`` into ``out``; everything is rendered before anything is written.

    Raises:
        UsageError: ``out`` cannot be made or written. AuditBrokenError: the report holds a NaN.
    """
    contents = {
        "attack.json": attack_json(report),
        "attack.txt": attack_text(report),
        "attack.html": attack_html(report),
    }
    return tuple(write_text(out / name, text) for name, text in contents.items())


def attack_json(report: AttackReport) -> str:
    """The whole record, infinity as ``"inf"``.

    Raises:
        AuditBrokenError: it holds a NaN.
    """
    data = _plain(report)
    assert isinstance(data, dict)
    return dump({"schema": ATTACK_SCHEMA, **data})


def attack_html(report: AttackReport) -> str:
    """One page: the conclusion, every place with its curve and bounds, the replayed steps, and how to run it again."""
    attack_json(report)  # what cannot be written as JSON (a NaN above all) must not become a page either
    return TEMPLATES.get_template("attack.html.j2").render(
        report=report,
        rules=RULES,
        plots=[_plot(number, place) for number, place in enumerate(report.places)],
        config=config_rows(report.config),
    )


def attack_text(report: AttackReport) -> str:
    """For a terminal or a log: at most 100 columns, no colour."""
    config = report.config
    lines = [
        f"{report.outcome.value}: {report.summary}",
        f"{one_line(report.mechanism)}, class {one_line(report.class_name)}, {config.name}, mode {report.mode}",
        f"claim: epsilon {nearest(config.target_epsilon)} at delta {nearest(config.target_delta)}; {config.cell}",
        "",
    ]
    lines += [f"accuracy: {what} {value:.2f} % ({one_line(dataset)})" for what, value, dataset in report.accuracy]
    for place in report.places:
        lines += ["", *_place_text(place)]
    if report.replayed:
        lines += ["", "stored steps, run again by a later process (noise multipliers)"]
        lines += [
            f"  step {step.step}: {'reproduced' if step.reproduced else 'NOT REPRODUCED'}, reported "
            f"{_number(step.reported_sigma)}, measured {_number(step.measured_noise)}"
            for step in report.replayed
        ]
    lines += ["", *(f"{one.rule} {one.severity.value}: {visible(one.message, lines=False)}" for one in report.findings)]
    lines += [f"note: {visible(note, lines=False)}" for note in report.notes]
    lines += [f"{duration_text(report.seconds)}; again: {visible(report.command, lines=False)}"]
    return "\n".join(lines) + "\n"


def _place_text(place: PlaceRecord) -> list[str]:
    able = "could have refuted" if place.able else "could NOT have refuted"
    needed = "no number suffices" if place.needed is None else f"{place.needed} needed"
    lines = [
        f"{place.name}: {place.words}",
        f"  {place.trials} trials, design {place.design}; a perfect attack {able} the claim at level "
        f"{nearest(place.gate_level)} ({needed}; ceiling {lower_end(place.ceiling)})",
    ]
    if place.refuted_by:
        lines.append(f"  REFUTED by {place.refuted_by}")
    lines.append(f"  {'bound':<24}{'epsilon >=':>11}{'ceiling':>10}  {'level':<8}{'family':<12}valid")
    for bound in place.bounds:
        valid = "yes, counts" if bound.counts_here else "yes" if bound.valid else "no"
        lines.append(
            f"  {bound.method:<24}{lower_end(bound.epsilon):>11}{lower_end(bound.ceiling):>10}  "
            f"{bound.level:<8.3g}{bound.family:<12}{valid}"
        )
    if place.roc is not None:
        rates = ", ".join(f"{nearest(hit)} at {nearest(rate)}" for rate, hit in place.roc.at_low_rates)
        lines.append(f"  ROC: area {nearest(place.roc.auc)}; true positive rate {rates}")
    return lines


def _plot(number: int, place: PlaceRecord) -> Plot | None:
    roc = place.roc
    if roc is None:
        return None
    rates = ", ".join(f"{nearest(hit)} at {nearest(rate)}" for rate, hit in roc.at_low_rates)
    band = f"{nearest(100 * (1 - roc.level))} % limits at each threshold by itself"
    band += "" if roc.bands_valid else ", as if scores were independent, which canaries of one run are not"
    words = f"Area under the curve {nearest(roc.auc)}. True positive rate {rates}. Band: {band}."
    title = f"ROC of the attack: {place.name}"
    legend = [("attack", "attack"), ("guess", "guessing")]
    if roc.claimed:
        legend.insert(1, ("reported", "largest that the claim allows"))
    return Plot(svg=roc_plot(f"plot-roc-{number}", title, words, roc), title=title, words=words, legend=tuple(legend))


def _number(value: float | None) -> str:
    return "unknown" if value is None else nearest(value)


def _plain(value: object) -> JsonData:
    """Dataclasses, enums, tuples and mappings as plain data."""
    if isinstance(value, Enum):
        return str(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(member) for member in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"attack report: {type(value).__name__} is no plain data")
