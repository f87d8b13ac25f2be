"""``dpaudit gate --ledger FILE``: replay alone, of a run that another framework recorded."""

import argparse
import shlex
from pathlib import Path

from dpaudit.adapters import read_ledger
from dpaudit.contract import AuditReport
from dpaudit.gate import audit_record


def audit_ledger(path: str, arguments: argparse.Namespace) -> AuditReport:
    """Account what a recorded run reports. Never ACCEPTED: no code was examined."""
    record = read_ledger(Path(path))
    return audit_record(
        path, record.config, record.measurement, command=shlex.join(["dpaudit", "gate", "--ledger", path])
    )
