"""AttackReport: the record of one attack on trainings, place by place, with its curves."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .finding import Finding
from .run_config import RunConfig
from .words import Outcome

ATTACK_SCHEMA = "dpaudit.attack/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRecord:
    """One lower bound on epsilon as it is printed. ``counts_here``: chosen in advance to be the one that counts."""

    method: str
    epsilon: float
    ceiling: float
    level: float
    design: str
    family: str
    valid: bool
    counts_here: bool
    noise_deficit: float | None
    counts: Mapping[str, int]
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RocRecord:
    """Points of a receiver operating characteristic, thinned, with what the claim allows.

    Attributes:
        fpr, tpr, lower, upper: points with two-sided confidence limits of the true positive rate at ``level``.
        bands_valid: whether the design makes the scores independent, as the limits assume.
        claimed: (false positive rate, largest true positive rate that the claim allows).
        at_low_rates: (false positive rate, true positive rate at most that far in).
    """

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    level: float
    bands_valid: bool
    claimed: tuple[tuple[float, float], ...]
    auc: float
    at_low_rates: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceRecord:
    """One listening place: what was scored, what it could have shown, and what it showed."""

    name: str
    words: str
    design: str
    trials: int
    gate_level: float
    ceiling: float
    able: bool
    needed: int | None
    refuted_by: str
    bounds: tuple[BoundRecord, ...]
    roc: RocRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedStepRecord:
    """One stored step that a later process ran again; see the ledger's measured columns."""

    step: int
    reproduced: bool
    reported_sigma: float | None
    measured_noise: float | None
    largest_contribution: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackReport:
    """What an attack on trainings concluded. It proves nothing from above.

    Attributes:
        mode: ``train``, ``shadow`` or ``repeat``.
        epsilon_lower: the largest of the places' counted bounds, at 95 % over all places; ``None`` without one.
        accuracy: (what was trained, test accuracy in percent, data set).
        replayed: stored steps of the run, run again.
    """

    mode: str
    mechanism: str
    class_name: str
    source_sha256: str
    config: RunConfig
    outcome: Outcome
    summary: str
    epsilon_lower: float | None
    places: tuple[PlaceRecord, ...]
    accuracy: tuple[tuple[str, float, str], ...]
    replayed: tuple[ReplayedStepRecord, ...]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    command: str
    seconds: float
    created: str
    versions: Mapping[str, str] = field(default_factory=dict)
