"""``dpaudit gate --ledger FILE|RUN|RUNS``: replay alone, of what another framework or the harness recorded."""

import argparse
import shlex
from pathlib import Path

from dpaudit.adapters import read_ledger
from dpaudit.contract import AuditReport
from dpaudit.gate import audit_record

from .recorded_runs import audit_run, audit_runs, folders_of_runs


def audit_ledger(path: str, arguments: argparse.Namespace) -> AuditReport:
    """Account what a recorded run reports: a ledger file, a run directory, or a folder of run directories.

    Never ACCEPTED: no code was examined.
    """
    command = shlex.join(["dpaudit", "gate", "--ledger", path])
    if Path(path).is_dir():
        folders = folders_of_runs(Path(path))
        return audit_runs(path, folders, command) if folders else audit_run(path, command)
    ledger = read_ledger(Path(path))
    return audit_record(path, ledger.config, ledger.measurement, record=ledger.record, command=command)
