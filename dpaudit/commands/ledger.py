"""``dpaudit gate --ledger FILE|RUN``: replay alone, of a run that another framework or the harness recorded."""

import argparse
import shlex
from pathlib import Path

from dpaudit.adapters import read_ledger, recorded_measurement
from dpaudit.contract import AuditReport, LedgerRow, RecordedRun, RecordedStep, Sampler
from dpaudit.gate import audit_record


def audit_ledger(path: str, arguments: argparse.Namespace) -> AuditReport:
    """Account what a recorded run reports: a ledger file, or a run directory. Never ACCEPTED: no code was examined."""
    command = shlex.join(["dpaudit", "gate", "--ledger", path])
    if Path(path).is_dir():
        return _audit_run(path, command)
    ledger = read_ledger(Path(path))
    return audit_record(path, ledger.config, ledger.measurement, record=ledger.record, command=command)


def _audit_run(path: str, command: str) -> AuditReport:
    """A run directory of the harness.

    Raises:
        DataError: it holds no whole run.
    """
    import harness

    run = harness.read_run(Path(path))
    config, rows = run.config, run.ledger
    sampled = config.cell.sampler in {Sampler.POISSON, Sampler.TRUNCATED_POISSON}
    record = RecordedRun(
        steps=tuple(
            RecordedStep(told=row.reported_sigma, rows=row.rows_sampled if sampled else row.rows_seen) for row in rows
        )
    )
    missing = config.total_steps - len(rows)
    measurement = recorded_measurement(
        (*(row.reported_sigma for row in rows), *(None,) * missing),
        (*(_well_below(row) for row in rows), *(None,) * missing),
    )
    return audit_record(path, config, measurement, record=record, command=command)


def _well_below(row: LedgerRow) -> float | None:
    """The measured noise of a step where it is well below the reported one: a replayed step is read to about 1 %."""
    if row.measured_noise is None or row.reported_sigma is None or row.measured_noise >= 0.9 * row.reported_sigma:
        return None
    return row.measured_noise
