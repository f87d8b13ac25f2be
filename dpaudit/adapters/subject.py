"""Subject: what an adapter hands to an audit, and how the report is told in the words of the user's own file."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from dpaudit.contract import AuditReport, Finding, RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to audit that is not itself a mechanism file.

    Attributes:
        name: how reports name it: what the user gave.
        spec: the mechanism file that stands for it (``file.py`` or ``file.py::Class``).
        config: the run that it claims.
        findings: what the adapter itself found.
        assumptions, blind_spots: what the translation takes for granted, and what it cannot see.
        replaced_assumptions: sentences of the audit that do not hold for this subject, by their first words.
        rewordings: pairs of a phrase in findings and what holds of this subject in its place.
        place: from a line of the mechanism file to ``(file, line, where)`` in the user's words.
    """

    name: str
    spec: str
    config: RunConfig
    findings: tuple[Finding, ...] = ()
    assumptions: tuple[str, ...] = ()
    blind_spots: tuple[str, ...] = ()
    replaced_assumptions: tuple[str, ...] = ()
    rewordings: tuple[tuple[str, str], ...] = ()
    place: Callable[[int | None], tuple[str, int | None, str]]

    def retold(self, report: AuditReport) -> AuditReport:
        """The report with every finding at its place in the user's file. Verdict, numbers and outcomes stay."""
        kept = tuple(
            text
            for text in report.assumptions
            if not any(text.startswith(start) for start in self.replaced_assumptions)
        )
        return replace(
            report,
            mechanism=self.name,
            findings=tuple(self._finding(finding) for finding in report.findings),
            assumptions=(*kept, *self.assumptions),
            blind_spots=(*report.blind_spots, *self.blind_spots),
            reasons=tuple(reason.replace(self.spec, self.name) for reason in report.reasons),
        )

    def _finding(self, finding: Finding) -> Finding:
        if finding.file.partition("::")[0] != self.spec.partition("::")[0]:
            return finding
        file, line, where = self.place(finding.line)
        evidence = {**finding.evidence, **({"in": where} if where else {})}
        message = finding.message.replace(self.spec, self.name)
        for phrase, own in self.rewordings:
            message = message.replace(phrase, own)
        return replace(finding, file=file, line=line, message=message, evidence=evidence)
