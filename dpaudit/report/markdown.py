"""The reports as Markdown: for a pull request's comment, a wiki or a job summary.

Everything from the candidate is text: characters that Markdown or HTML would act on are escaped, so that a mechanism's
name or message cannot become a link, a heading or a second column.
"""

from collections.abc import Iterator, Sequence

from dpaudit.contract import RULES, AuditReport, Finding, Verdict

from .attack_markdown import attack_section
from .escaped_markdown import code, escaped, paragraph
from .figures import accuracy_text, bracket_text, lower_end, nearest, or_missing
from .json_record import to_json
from .text import short_names
from .untrusted import one_line
from .wording import (
    BROKEN,
    NOTHING_AUDITED,
    cell_sentence,
    expectation,
    honest_noise,
    untold_reasons,
    verdict_mark,
    verdict_meaning,
)

_MISSING = "?"


def to_markdown(reports: Sequence[AuditReport]) -> str:
    """A table with one row a mechanism, then reasons, findings, limits and command of each.

    Raises:
        AuditBrokenError: a report holds a NaN.
    """
    to_json(reports)  # what cannot be the record must not become a page either
    return "\n".join(_lines(reports)) + "\n"


def _lines(reports: Sequence[AuditReport]) -> Iterator[str]:
    yield "# Privacy audits"
    yield ""
    if not reports:
        yield NOTHING_AUDITED
        return
    counts = ", ".join(f"{sum(r.verdict is verdict for r in reports)} {verdict}" for verdict in Verdict)
    broken = sum(report.broken for report in reports)
    yield f"{counts}{f', {broken} of them BROKEN' if broken else ''}."
    yield ""
    yield "| mechanism | verdict | target | reported | replayed | accuracy % |"
    yield "|---|---|---:|---:|---:|---|"
    for report, name in zip(reports, short_names(reports), strict=True):
        epsilon = report.epsilon
        cells = (
            escaped(one_line(name)),
            f"{verdict_mark(report.verdict)} {report.verdict}{' BROKEN' if report.broken else ''}",
            nearest(epsilon.target),
            or_missing(epsilon.reported, "-"),
            escaped(bracket_text(epsilon.replayed, _MISSING)),
            "; ".join(f"{escaped(one_line(row.dataset))} {accuracy_text(row)}" for row in report.accuracy) or "-",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield f"`{_MISSING}`: not proved. Lower ends are rounded down, upper ends up. Exact values are in `report.json`."
    for report in reports:
        yield from _audit(report)


def _audit(report: AuditReport) -> Iterator[str]:
    yield ""
    yield f"## {escaped(one_line(report.mechanism))}: {report.verdict}"
    yield ""
    if report.broken:
        yield f"**{BROKEN}**"
        yield ""
    if report.as_expected is not None:
        yield f"Expectation: {expectation(report)}."
        yield ""
    if not report.broken:
        yield verdict_meaning(report)
        yield ""
    for reason in untold_reasons(report):
        yield f"- {paragraph(reason)}"
    if honest_noise(report):
        yield f"- {honest_noise(report)}"
    epsilon = report.epsilon
    yield (
        f"- Question: {cell_sentence(report.config.cell)}; delta {nearest(epsilon.delta)}; "
        f"run {escaped(one_line(report.config.name))}."
    )
    if epsilon.empirical_lower is not None:
        yield f"- Attack: epsilon at least {lower_end(epsilon.empirical_lower)}."
    for record in report.layers:
        state = str(record.outcome) if record.ran else "did not run"
        yield f"- Layer {record.layer}: {state}. {paragraph(record.summary)}".rstrip()
    if report.findings:
        yield ""
        yield "### Findings"
    for finding in report.findings:
        yield from _finding(finding)
    for attack in report.attacks:
        yield ""
        yield "### Attack on training"
        yield ""
        yield from attack_section(attack, heading="####")
    yield from _list("### What this audit could not have detected", report.blind_spots)
    yield from _list("### Assumptions", report.assumptions)
    if report.command:
        yield ""
        yield "### Again"
        yield from code(report.command)


def _finding(finding: Finding) -> Iterator[str]:
    place = one_line(finding.file, limit=200) + ("" if finding.line is None else f":{finding.line}")
    rule = RULES[finding.rule]
    yield ""
    yield f"**{finding.rule} {rule.title}** ({finding.severity}, {finding.strength}) at {escaped(place)}"
    yield ""
    yield paragraph(finding.message)
    yield ""
    yield f"Why: {rule.why} Remedy: {rule.remedy}"
    if finding.rerun:
        yield from code(finding.rerun)


def _list(title: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield ""
        yield title
        yield ""
    for text in texts:
        yield f"- {paragraph(text)}"
