"""A problem as the worker sees it: plain data, without the file and the command that the parent adds."""

from dataclasses import dataclass, field

from dpaudit.contract import PlainData, Severity, Strength


@dataclass(frozen=True, slots=True)
class Problem:
    """One rule broken at one place. ``key`` says which problems are the same one at different steps."""

    rule: str
    severity: Severity
    strength: Strength
    message: str
    line: int | None = None
    evidence: dict[str, PlainData] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, Severity, int | None]:
        """Rule, severity and line."""
        return self.rule, self.severity, self.line


def proved(rule: str, message: str, line: int | None, **evidence: PlainData) -> Problem:
    """A problem that voids the claim, with its witness."""
    return Problem(rule, Severity.CRITICAL, Strength.PROOF, message, line, dict(evidence))


def unresolved(rule: str, message: str, line: int | None, **evidence: PlainData) -> Problem:
    """Something that the probe could not establish. Never a witness."""
    return Problem(rule, Severity.MAJOR, Strength.HEURISTIC, message, line, dict(evidence))
