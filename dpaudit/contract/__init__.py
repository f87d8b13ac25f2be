"""The vocabulary of dpaudit as immutable types. Standard library only; everything else imports this."""

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
from .errors import AuditBrokenError, DataError, DpauditError, UnsupportedCellError, UsageError
from .event_trace import EventTrace
from .finding import Finding, PlainData, plain_number
from .measurement import Measurement
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
    "RULES",
    "SCHEMA",
    "AccuracyRow",
    "AuditBrokenError",
    "AuditReport",
    "Bracket",
    "Calibration",
    "Cell",
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
    "Outcome",
    "PlainData",
    "Relation",
    "Rows",
    "Rule",
    "RunConfig",
    "RunRecord",
    "Sampler",
    "Severity",
    "SigmaRecord",
    "StaticResult",
    "Strength",
    "UnsupportedCellError",
    "UsageError",
    "Verdict",
    "fold_exit_code",
    "plain_number",
]
