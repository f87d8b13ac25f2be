"""The vocabulary of dpaudit as immutable types. Standard library only; everything else imports this."""

from .attack_report import (
    ATTACK_SCHEMA,
    AttackReport,
    BoundRecord,
    PlaceRecord,
    ReplayedStepRecord,
    RocRecord,
)
from .audit_report import (
    SCHEMA,
    AccuracyRow,
    AuditReport,
    EpsilonRecord,
    LayerRecord,
    SigmaRecord,
    fold_exit_code,
)
from .bracket import Bracket
from .cell import Cell
from .curves import AttackCurve, AttackPoint, CurvesRecord, SpendRow
from .errors import AuditBrokenError, DataError, DpauditError, UnsupportedCellError, UsageError
from .event_trace import EventTrace
from .finding import Finding, PlainData, plain_number
from .measurement import Measurement
from .recorded_run import OtherRelease, RankNoise, RecordedRun, RecordedStep, Selection
from .rules import RULES, Rule
from .run_config import RunConfig
from .run_record import LedgerRow, RunRecord
from .static_result import StaticResult
from .words import (
    Calibration,
    ExitCode,
    Form,
    Layer,
    NoiseClass,
    NonFinite,
    Outcome,
    Relation,
    Rows,
    Sampler,
    Severity,
    Strength,
    Verdict,
)

__all__ = [
    "ATTACK_SCHEMA",
    "RULES",
    "SCHEMA",
    "AccuracyRow",
    "AttackCurve",
    "AttackPoint",
    "AttackReport",
    "AuditBrokenError",
    "AuditReport",
    "BoundRecord",
    "Bracket",
    "Calibration",
    "Cell",
    "CurvesRecord",
    "DataError",
    "DpauditError",
    "EpsilonRecord",
    "EventTrace",
    "ExitCode",
    "Finding",
    "Form",
    "Layer",
    "LayerRecord",
    "LedgerRow",
    "Measurement",
    "NoiseClass",
    "NonFinite",
    "OtherRelease",
    "Outcome",
    "PlaceRecord",
    "PlainData",
    "RankNoise",
    "RecordedRun",
    "RecordedStep",
    "Relation",
    "ReplayedStepRecord",
    "RocRecord",
    "Rows",
    "Rule",
    "RunConfig",
    "RunRecord",
    "Sampler",
    "Selection",
    "Severity",
    "SigmaRecord",
    "SpendRow",
    "StaticResult",
    "Strength",
    "UnsupportedCellError",
    "UsageError",
    "Verdict",
    "fold_exit_code",
    "plain_number",
]
