"""An attack on trainings as Markdown, by itself and within the audit that took its record in."""

from collections.abc import Iterator

from dpaudit.contract import AttackReport, BoundRecord, PlaceRecord

from .attack_record import attack_json
from .escaped_markdown import code, escaped, paragraph
from .figures import duration_text, lower_end, nearest
from .untrusted import one_line


def attack_markdown(report: AttackReport) -> str:
    """The record for a pull request's comment, a wiki or a job summary.

    Raises:
        AuditBrokenError: it holds a NaN.
    """
    attack_json(report)  # what cannot be the record must not become a page either
    config = report.config
    head = [
        f"# Attack: {report.outcome}",
        "",
        f"{_word(report.mechanism)}, class {_word(report.class_name)}, run "
        f"{_word(config.name)}; claim: epsilon {nearest(config.target_epsilon)} at delta "
        f"{nearest(config.target_delta)}; {escaped(str(config.cell))}.",
        "",
    ]
    findings = [f"- **{one.rule}** ({one.severity}): {paragraph(one.message)}" for one in report.findings]
    return "\n".join([*head, *attack_section(report, heading="##"), *(["", *findings] if findings else [])]) + "\n"


def attack_section(report: AttackReport, *, heading: str) -> Iterator[str]:
    """Lines: the conclusion, accuracy, a table of bounds for every place, steps run again, notes and command."""
    yield f"Mode {_word(report.mode)}, {report.outcome}: {paragraph(report.summary)}"
    if report.accuracy:
        yield ""
    for what, value, dataset in report.accuracy:
        yield f"- Accuracy {_word(what)}: {value:.2f} % ({_word(dataset)})."
    for place in report.places:
        yield from _place(place, heading)
    if report.replayed:
        again = sum(step.reproduced for step in report.replayed)
        yield ""
        yield f"{again} of {len(report.replayed)} stored steps gave the recorded update when they were run again."
    if report.notes:
        yield ""
    for note in report.notes:
        yield f"- {paragraph(note)}"
    yield ""
    yield f"Made in {duration_text(report.seconds)} by:"
    yield from code(report.command)


def _place(place: PlaceRecord, heading: str) -> Iterator[str]:
    able = "could" if place.able else "could **not**"
    needed = "no number suffices" if place.needed is None else f"{place.needed} needed"
    yield ""
    yield f"{heading} {_word(place.name)}{': REFUTED by ' + _word(place.refuted_by) if place.refuted_by else ''}"
    yield ""
    yield (
        f"{paragraph(place.words)}. {place.trials} trials, design {_word(place.design)}; a perfect attack {able} have "
        f"refuted the claim at level {nearest(place.gate_level)} ({needed}; ceiling {lower_end(place.ceiling)})."
    )
    yield ""
    yield "| bound | epsilon at least | ceiling | level | family | valid |"
    yield "|---|---:|---:|---:|---|---|"
    for bound in place.bounds:
        yield (
            f"| {_word(bound.method)} | {lower_end(bound.epsilon)} | {lower_end(bound.ceiling)} | {nearest(bound.level)} "
            f"| {_word(bound.family)} | {_validity(bound)} |"
        )
    if place.roc is not None:
        rates = ", ".join(f"{nearest(hit)} at {nearest(rate)}" for rate, hit in place.roc.at_low_rates)
        yield ""
        yield f"ROC: area {nearest(place.roc.auc)}; true positive rate {rates} (the curve is in the HTML page)."


def _validity(bound: BoundRecord) -> str:
    return "yes, counts" if bound.counts_here else "yes" if bound.valid else "no"


def _word(text: str) -> str:
    return escaped(one_line(text))
