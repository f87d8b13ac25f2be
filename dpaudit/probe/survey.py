"""What was read of all steps of a run."""

from dataclasses import dataclass, field

from dpaudit.contract import NoiseClass, Severity, Strength

from .candidates import HUGE, SPREAD, Canary
from .inside import Inside
from .loading import CandidateError
from .problem import Problem


@dataclass(slots=True)
class Survey:
    """What was read, in run order. ``problems`` holds the first of each kind; ``notes`` are limits, ``checks`` what held.

    ``inside``: inner values at which steps were read last, where the release is not affine in the noise.
    """

    reported: list[float | None] = field(default_factory=list)
    measured: list[float | None] = field(default_factory=list)
    classes: list[NoiseClass] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    canary: Canary = field(default_factory=lambda: Canary(SPREAD, HUGE))
    complete: bool = False
    demonstrated: bool = True
    coins_matter: bool = False
    inside: Inside | None = None

    def fill(self, total: int) -> None:
        """Make every list ``total`` long; steps that were not read are UNRESOLVED."""
        self.classes += [NoiseClass.UNRESOLVED] * (total - len(self.classes))
        self.measured += [None] * (total - len(self.measured))
        self.reported += [None] * (total - len(self.reported))

    def add(self, problem: Problem) -> None:
        """Keep the first problem of each rule and line."""
        if all(problem.key != other.key for other in self.problems):
            self.problems.append(problem)


def failure(error: CandidateError) -> Problem:
    """A failure of the candidate as a problem: certain, but no witness against its privacy."""
    return Problem(error.rule, Severity.MAJOR, Strength.PROOF, str(error), error.line)
