"""The gate: plan an audit, run the layers, decide."""

from .attack_records import is_from_attack
from .auditing import TrainingResult, audit
from .decision import REQUIRED_LAYERS, Decision, decide
from .expectations import Expectation, read_expectations
from .plan import DEFAULT_LAYERS, plan_layers
from .recorded import audit_record
from .reproduction import Reproduction, reproduce

__all__ = [
    "DEFAULT_LAYERS",
    "REQUIRED_LAYERS",
    "Decision",
    "Expectation",
    "Reproduction",
    "TrainingResult",
    "audit",
    "audit_record",
    "decide",
    "is_from_attack",
    "plan_layers",
    "read_expectations",
    "reproduce",
]
