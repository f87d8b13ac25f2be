"""Finding: one rule broken at one place, with the evidence and a way to run it again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .rules import RULES
from .words import Severity, Strength

PlainData = str | int | float | bool | None | list["PlainData"] | dict[str, "PlainData"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rule broken at one place.

    Attributes:
        rule: id of a rule in :data:`dpaudit.contract.rules.RULES`.
        severity: what it does to the claim.
        strength: how strong the evidence is.
        message: one or two sentences: what was expected, what was seen.
        file, line: where in the candidate's source (line from 1; ``None`` where no line can be named).
        evidence: plain data behind the message (numbers with their method and cell).
        rerun: a command that shows it again.
    """

    rule: str
    severity: Severity
    strength: Strength
    message: str
    file: str
    line: int | None = None
    evidence: Mapping[str, PlainData] = field(default_factory=dict)
    rerun: str = ""

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"finding: unknown rule id {self.rule!r}; known: {', '.join(sorted(RULES))}")

    @property
    def refutes(self) -> bool:
        """Whether this finding alone is a witness for REJECTED."""
        return self.severity is Severity.CRITICAL and self.strength is not Strength.HEURISTIC


def plain_number(value: float) -> float | str:
    """A number as plain data: JSON has no infinity, so it is the string ``"inf"``."""
    return "inf" if value == float("inf") else value
