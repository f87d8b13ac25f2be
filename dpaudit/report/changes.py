"""What changed from one set of audits to another: verdicts first, then what stands behind them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dpaudit.contract import AuditReport, Finding

from .figures import bracket_text
from .wording import NOT_PROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One mechanism under one run configuration, before and after.

    Attributes:
        old, new: its audits; ``None`` where it was not audited.
        why: sentences on what differs, causes before consequences; empty where nothing does.
    """

    name: str
    old: AuditReport | None
    new: AuditReport | None
    why: tuple[str, ...]

    @property
    def verdicts(self) -> str:
        """``ACCEPTED -> REJECTED``; one word where it stayed."""
        before = "not audited" if self.old is None else self._word(self.old)
        after = "not audited" if self.new is None else self._word(self.new)
        return after if before == after else f"{before} -> {after}"

    @property
    def verdict_changed(self) -> bool:
        """Whether the verdict, or that it can be used, is another one."""
        return self.old is None or self.new is None or self._word(self.old) != self._word(self.new)

    @staticmethod
    def _word(report: AuditReport) -> str:
        return f"{report.verdict}{' (broken)' if report.broken else ''}"


def changes(old: Sequence[AuditReport], new: Sequence[AuditReport]) -> tuple[Change, ...]:
    """Every mechanism and configuration of either side, those of ``new`` first, in their order.

    Audits are the same subject if mechanism, class and the name of the run configuration are the same; the n-th of several
    is compared with the n-th.
    """
    before, after = _keyed(old), _keyed(new)
    return tuple(_change(key, before.get(key), after.get(key)) for key in dict.fromkeys((*after, *before)))


_Key = tuple[str, str, str, int]


def _keyed(reports: Sequence[AuditReport]) -> dict[_Key, AuditReport]:
    found: dict[_Key, AuditReport] = {}
    for report in reports:
        count = 0
        while (key := (report.mechanism, report.class_name, report.config.name, count)) in found:
            count += 1
        found[key] = report
    return found


def _change(key: _Key, old: AuditReport | None, new: AuditReport | None) -> Change:
    name = f"{key[0]} ({key[2]})" + (f" #{key[3] + 1}" if key[3] else "")
    why = tuple(_why(old, new)) if old is not None and new is not None else ()
    return Change(name=name, old=old, new=new, why=why)


def _why(old: AuditReport, new: AuditReport) -> Iterator[str]:
    if old.source_sha256 != new.source_sha256:
        yield "the mechanism's source changed"
    if old.config != new.config:
        yield from _config(old, new)
    for name in sorted({*old.versions, *new.versions}):
        was, now = old.versions.get(name, "absent"), new.versions.get(name, "absent")
        if was != now:
            yield f"version of {name}: {was} -> {now}"
    yield from _findings(old.findings, new.findings)
    before = {record.layer: record for record in old.layers}
    for record in new.layers:
        earlier = before.get(record.layer)
        if earlier is not None and (earlier.ran, earlier.outcome) != (record.ran, record.outcome):
            change = f"{_state(earlier.ran, earlier.outcome)} -> {_state(record.ran, record.outcome)}"
            yield f"layer {record.layer}: {change}"
    ends = tuple(bracket_text(report.epsilon.replayed, NOT_PROVED) for report in (old, new))
    if ends[0] != ends[1]:
        yield f"replayed epsilon: {ends[0]} -> {ends[1]}"


def _config(old: AuditReport, new: AuditReport) -> Iterator[str]:
    for name in old.config.__slots__:
        was, now = getattr(old.config, name), getattr(new.config, name)
        if was != now:
            yield f"run configuration, {name}: {was} -> {now}"


def _findings(old: Sequence[Finding], new: Sequence[Finding]) -> Iterator[str]:
    def kinds(findings: Sequence[Finding]) -> dict[tuple[str, str], Finding]:
        return {(finding.rule, finding.severity): finding for finding in findings}

    before, after = kinds(old), kinds(new)
    for key, finding in after.items():
        if key not in before:
            yield f"new finding {finding.rule} ({finding.severity}) at {_place(finding)}: {finding.message}"
    for key, finding in before.items():
        if key not in after:
            yield f"gone: {finding.rule} ({finding.severity}), which was at {_place(finding)}"


def _place(finding: Finding) -> str:
    return finding.file + ("" if finding.line is None else f":{finding.line}")


def _state(ran: bool, outcome: str) -> str:
    return outcome if ran else "not run"
