"""LowerBound: what an attack proved about epsilon, and what it could at best have proved."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dpaudit.contract import AuditBrokenError, UsageError


class Design(StrEnum):
    """How the scores came about."""

    INDEPENDENT = "independent"
    """Every score is from a run (or a one-step release) of its own, with fresh randomness."""
    ONE_RUN = "one_run"
    """All canaries were in or out of ONE run, each by an independent fair coin; their scores depend on each other."""


class Family(StrEnum):
    """Which mechanisms an epsilon is indexed by."""

    NONE = "none"
    """Any mechanism."""
    GAUSSIAN = "gaussian"
    """Mechanisms whose trade-off curve is that of some N(mu, 1) against N(0, 1)."""
    ACCOUNTANT = "accountant"
    """The declared event trace with its noise scaled by some factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LowerBound:
    """epsilon >= ``epsilon`` at ``delta``, except with probability ``level``, for mechanisms of ``family``.

    Attributes:
        method: name of the bound.
        epsilon: the bound, >= 0; ``inf`` where the attack showed a release without noise.
        ceiling: what a perfect attack with these counts would have given; never below ``epsilon``.
        delta: at which epsilon is quoted.
        level: one-sided error probability that this bound was built for.
        counts: what was counted.
        design: how the scores came about.
        family: what the epsilon is indexed by.
        valid: whether the design supports the method. An invalid or advisory bound decides nothing.
        noise_deficit: factor on the declared noise below which the truth lies (accountant family only): below 1, less
            noise than declared was shown.
        note: what a reader must know.

    Raises:
        AuditBrokenError: epsilon or ceiling is NaN or negative.
    """

    method: str
    epsilon: float
    ceiling: float
    delta: float
    level: float
    counts: Mapping[str, int] = field(default_factory=dict)
    design: Design
    family: Family
    valid: bool
    noise_deficit: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not (self.epsilon >= 0 and self.ceiling >= 0):
            raise AuditBrokenError(
                f"bound {self.method}: expected epsilon and ceiling >= 0, got {self.epsilon!r} and {self.ceiling!r}"
            )
        if self.ceiling < self.epsilon:
            object.__setattr__(self, "ceiling", self.epsilon)


def require_level(level: float) -> float:
    """``level`` itself.

    Raises:
        UsageError: it does not lie in (0, 1/2].
    """
    if not 0 < level <= 0.5:
        raise UsageError(f"lower bound: the level must lie in (0, 0.5], got {level!r}")
    return level


def require_delta(delta: float) -> float:
    """``delta`` itself.

    Raises:
        UsageError: it does not lie in [0, 1).
    """
    if not (0 <= delta < 1 and math.isfinite(delta)):
        raise UsageError(f"lower bound: delta must lie in [0, 1), got {delta!r}")
    return delta
