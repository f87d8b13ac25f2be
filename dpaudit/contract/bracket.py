"""Bracket: a number bounded from both sides, each side with the method that proved it."""

import math
from dataclasses import dataclass

from .errors import AuditBrokenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """``lower <= truth <= upper``. A side is ``None`` where nothing was proved; ``upper`` may be ``inf``.

    Raises:
        AuditBrokenError: a side is NaN, or ``lower > upper``: two proofs that contradict each other
            are a defect of dpaudit, never a result.
    """

    lower: float | None
    upper: float | None
    lower_method: str = ""
    upper_method: str = ""

    def __post_init__(self) -> None:
        for name, value in (("lower", self.lower), ("upper", self.upper)):
            if value is not None and math.isnan(value):
                raise AuditBrokenError(f"bracket: expected a number or None for {name}, got NaN")
        if self.lower is not None and self.upper is not None and not self.lower <= self.upper:
            raise AuditBrokenError(
                f"bracket: lower end {self.lower!r} ({self.lower_method}) exceeds upper end "
                f"{self.upper!r} ({self.upper_method}); one of the two proofs is wrong"
            )

    @property
    def relative_width(self) -> float:
        """``(upper - lower) / upper``; infinite where an end is missing or unbounded."""
        if self.lower is None or self.upper is None or math.isinf(self.upper):
            return math.inf
        return 0.0 if self.upper == 0 else (self.upper - self.lower) / self.upper

    def without_upper(self, reason: str) -> "Bracket":
        """The same lower end, with no claim about the upper one."""
        return Bracket(lower=self.lower, upper=None, lower_method=self.lower_method, upper_method=reason)
