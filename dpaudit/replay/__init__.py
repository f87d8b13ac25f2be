"""The replay layer: reported schedule against measured schedule against ledger, then accounting of what really ran."""

from .honest_noise import Schedule, cost, honest_factor, quotable_schedule
from .ledger import compare_ledger
from .recorded_claim import recorded_findings
from .schedules import Replay, replay

__all__ = [
    "Replay",
    "Schedule",
    "compare_ledger",
    "cost",
    "honest_factor",
    "quotable_schedule",
    "recorded_findings",
    "replay",
]
