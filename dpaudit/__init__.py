"""dpaudit: verification-focused auditing of differentially private training.

From Python: ``dpaudit.audit("mechanism.py", "mnist")`` gives an :class:`~dpaudit.contract.AuditReport`; see
``docs/python.md``. The names below are loaded when they are first used, so that importing ``dpaudit`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpaudit.auditing import audit, run_config
    from dpaudit.contract import AuditReport, Layer, RunConfig, Verdict

__version__ = "0.1.0"

_FROM = {
    "audit": "dpaudit.auditing",
    "run_config": "dpaudit.auditing",
    "AuditReport": "dpaudit.contract",
    "Layer": "dpaudit.contract",
    "RunConfig": "dpaudit.contract",
    "Verdict": "dpaudit.contract",
}

__all__ = ["AuditReport", "Layer", "RunConfig", "Verdict", "__version__", "audit", "run_config"]


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    raise AttributeError(f"module 'dpaudit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
