"""The replay layer: reported schedule against measured schedule against ledger, then accounting of what really ran."""

from .ledger import compare_ledger
from .schedules import Replay, replay

__all__ = ["Replay", "compare_ledger", "replay"]
