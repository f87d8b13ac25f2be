"""CurvesRecord: what an audit knows as curves, for pictures. No verdict is decided from it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRow:
    """Epsilon, at the run's delta, of its first ``steps`` steps (and of releases before them, where there are any).

    Attributes:
        reported: the reported schedule under valid accounting, upper end.
        lower, upper: what ran; ``None`` where nothing is proved on that side.
    """

    steps: int
    reported: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPoint:
    """One test of an attack, on trials of its own.

    Attributes:
        false_positive, false_negative: observed rates.
        limits: upper limits of both, which hold together except with probability ``level``; ``None`` where the runs were
            ended by what they showed, so that no limits are valid.
    """

    false_positive: float
    false_negative: float
    limits: tuple[float, float] | None
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackCurve:
    """What one attack played for, and what it got.

    Attributes:
        place: ``step`` (one step, given that the row is in it) or ``run`` (all steps, with their sampling).
        words: which schedule or budget the curve belongs to.
        claimed: (false positive rate, least false negative rate that the claim allows), by rising rate.
        points: the test; then, if there was one, its confirmation.
    """

    place: str
    words: str
    claimed: tuple[tuple[float, float], ...]
    points: tuple[AttackPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvesRecord:
    """The curves of one audit; empty where the layer that makes them did not run."""

    spend: tuple[SpendRow, ...] = ()
    tradeoffs: tuple[AttackCurve, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.spend or self.tradeoffs)
