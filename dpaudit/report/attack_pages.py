"""An :class:`~dpaudit.contract.AttackReport` as text, as a page, and all its files."""

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from dpaudit.contract import RULES, AttackReport, PlaceRecord, UsageError

from .attack_markdown import attack_markdown
from .attack_plots import attack_plots
from .attack_record import attack_json
from .figures import duration_text, lower_end, nearest
from .html import TEMPLATES, config_rows
from .renderings import Form
from .untrusted import one_line, visible
from .write import write_text


def write_attack(report: AttackReport, out: Path) -> tuple[Path, ...]:
    """Write ``attack.json``, ``.txt``, ``.md`` and ``.html`` into ``out``; everything is rendered before anything is written.

    Raises:
        UsageError: ``out`` cannot be made or written. AuditBrokenError: the report holds a NaN.
    """
    contents = {
        "attack.json": attack_json(report),
        "attack.txt": attack_text(report),
        "attack.md": attack_markdown(report),
        "attack.html": attack_html(report),
    }
    return tuple(write_text(out / name, text) for name, text in contents.items())


def render_attacks(reports: Sequence[AttackReport], form: Form) -> str:
    """Attacks in one form, as one text that ends with a newline.

    Raises:
        UsageError: a form that holds one attack only, of several; SARIF, which has no place for bounds and curves.
        AuditBrokenError: a report holds a NaN.
    """
    match form:
        case Form.TEXT:
            return "\n".join(attack_text(report) for report in reports)
        case Form.MARKDOWN:
            return "\n".join(attack_markdown(report) for report in reports)
        case Form.JSON | Form.HTML:
            if len(reports) != 1:
                raise UsageError(
                    f"--format {form}: expected one attack, got {len(reports)}; use --out DIR for all of them"
                )
            return attack_json(reports[0]) if form is Form.JSON else attack_html(reports[0])
        case Form.SARIF:
            raise UsageError(
                "--format sarif: an attack by itself has no such form; take it into an audit (dpaudit gate --attack-record DIR)"
            )
    assert_never(form)


def attack_html(report: AttackReport) -> str:
    """One page: the conclusion, every place with its curve and bounds, the replayed steps, and how to run it again."""
    attack_json(report)  # what cannot be written as JSON (a NaN above all) must not become a page either
    return TEMPLATES.get_template("attack.html.j2").render(
        report=report,
        rules=RULES,
        plots=attack_plots(report, "plot-roc"),
        config=config_rows(report.config),
    )


def attack_text(report: AttackReport) -> str:
    """For a terminal or a log: at most 100 columns, no colour."""
    config = report.config
    lines = [
        f"{report.outcome.value}: {visible(report.summary, lines=False)}",
        f"{one_line(report.mechanism)}, class {one_line(report.class_name)}, {config.name}, mode {one_line(report.mode)}",
        f"claim: epsilon {nearest(config.target_epsilon)} at delta {nearest(config.target_delta)}; {config.cell}",
        "",
    ]
    lines += [
        f"accuracy: {one_line(what)} {value:.2f} % ({one_line(dataset)})" for what, value, dataset in report.accuracy
    ]
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
        f"{one_line(place.name)}: {visible(place.words, lines=False)}",
        f"  {place.trials} trials, design {one_line(place.design)}; a perfect attack {able} the claim at level "
        f"{nearest(place.gate_level)} ({needed}; ceiling {lower_end(place.ceiling)})",
    ]
    if place.refuted_by:
        lines.append(f"  REFUTED by {one_line(place.refuted_by)}")
    lines.append(f"  {'bound':<24}{'epsilon >=':>11}{'ceiling':>10}  {'level':<8}{'family':<12}valid")
    for bound in place.bounds:
        valid = "yes, counts" if bound.counts_here else "yes" if bound.valid else "no"
        lines.append(
            f"  {one_line(bound.method):<24}{lower_end(bound.epsilon):>11}{lower_end(bound.ceiling):>10}  "
            f"{bound.level:<8.3g}{one_line(bound.family):<12}{valid}"
        )
    if place.roc is not None:
        rates = ", ".join(f"{nearest(hit)} at {nearest(rate)}" for rate, hit in place.roc.at_low_rates)
        lines.append(f"  ROC: area {nearest(place.roc.auc)}; true positive rate {rates}")
    return lines


def _number(value: float | None) -> str:
    return "unknown" if value is None else nearest(value)
