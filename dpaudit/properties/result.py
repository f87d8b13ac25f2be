"""What the properties layer concluded."""

from dataclasses import dataclass

from dpaudit.contract import Finding, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstContribution:
    """The row with the largest contribution that the search found.

    Attributes:
        noise_multiplier: noise over that contribution (dimensionless): an UPPER bound on the mechanism's true one.
        reported: sigma that the mechanism reports at that step; ``None`` if it gave no usable number.
        pair: the neighbouring batches in words.
    """

    noise_multiplier: float
    reported: float | None
    pair: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PropertyResult:
    """The outcome of a search for counterexamples.

    Attributes:
        outcome: PASSED (everything was tried, nothing worse than MINOR was found), VIOLATED (a finding above MINOR, shown
            and not merely suspected), INCONCLUSIVE (the candidate could not be run, or a check could not be made).
        findings: each with ``evidence["snippet"]``, a program that shows it, where one row does.
        worst_contribution: ``None`` if no row could be read.
        demonstrated_epsilon: lower end of epsilon from a pair whose steps were demonstrated and whose other rows do not matter;
            ``None`` if none was followed.
        seconds: wall time.
    """

    outcome: Outcome
    summary: str
    findings: tuple[Finding, ...]
    worst_contribution: WorstContribution | None
    seconds: float
    demonstrated_epsilon: float | None = None
    notes: tuple[str, ...] = ()
