"""Run directories of the harness as records: one run, or several of which one may have been chosen."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dpaudit.adapters import recorded_measurement
from dpaudit.contract import (
    AuditReport,
    DataError,
    Finding,
    LedgerRow,
    RecordedRun,
    RecordedStep,
    RunRecord,
    Sampler,
    Selection,
    Severity,
    Strength,
)
from dpaudit.gate import audit_record

_SAME_PERCENT = 1e-6


def folders_of_runs(folder: Path) -> tuple[Path, ...]:
    """The run directories directly in a folder that is none itself."""
    if (folder / "run.json").exists() or (folder / "ledger.jsonl").exists():
        return ()
    return tuple(sorted(inner.parent for inner in folder.glob("*/run.json")))


def audit_run(path: str, command: str) -> AuditReport:
    """A run directory: its ledger against its own configuration, the epsilon that it states, and the model that it quotes.

    Raises:
        DataError: it holds no whole run, or more steps than its configuration has.
    """
    run, quoted = _read(Path(path))
    return _audit(path, run, quoted, None, command)


def audit_runs(path: str, folders: Sequence[Path], command: str) -> AuditReport:
    """Several runs of one configuration on the same data, kept side by side: all that is in the folder has left.

    Together they cost what their steps cost in sequence. Where their proved upper end is within the target nothing is found.

    Raises:
        DataError: a run is malformed, or two have different configurations or data sets.
    """
    found = [_read(folder) for folder in folders]
    first = found[0][0]
    for run, _ in found:
        if (run.config, run.dataset) != (first.config, first.dataset):
            raise DataError(
                f"--ledger: expected runs of one configuration in {path}, got another in {run.directory}; give one run's folder"
            )
    quoted = [finding for _, findings in found for finding in findings]
    if len(found) == 1:
        return _audit(first.directory, first, quoted, None, command)
    # The quietest step of all runs stands for each: what follows from it is a lower end for them all.
    quietest = max((run for run, _ in found), key=lambda run: sum(row.reported_sigma or 0.0 for row in run.ledger))
    candidates = Selection(candidates=len(found), all_released=True, charged=_fits(found, first))
    return _audit(path, quietest, quoted, candidates, command)


def _fits(found: Sequence[tuple[RunRecord, object]], first: RunRecord) -> bool:
    """Whether all runs together are proved to be within the target."""
    from dpaudit.replay.recorded_noise import recorded_bracket

    sigmas = tuple(row.reported_sigma for run, _ in found for row in run.ledger)
    if any(sigma is None for sigma in sigmas):
        return False
    bracket = recorded_bracket(first.config, tuple(sigma for sigma in sigmas if sigma is not None))
    return bracket is not None and bracket.upper is not None and bracket.upper <= first.config.target_epsilon


def _read(folder: Path) -> tuple[RunRecord, tuple[Finding, ...]]:
    import harness

    run = harness.read_run(folder)
    if len(run.ledger) > run.config.total_steps:
        raise DataError(
            f"{folder}: expected at most {run.config.total_steps} steps, as run.json has it, got {len(run.ledger)}: steps were "
            "taken that its accounting does not hold"
        )
    return run, tuple(_chosen(run, harness.read_epochs(folder)))


def _chosen(run: RunRecord, epochs: Sequence[dict[str, float]]) -> Iterator[Finding]:
    """The quoted accuracy is that of another epoch than the last: the model was chosen by its accuracy on the test set."""
    if not run.completed or run.accuracy is None or not epochs:
        return
    last, best = epochs[-1]["test_accuracy"], max(entry["test_accuracy"] for entry in epochs)
    if abs(run.accuracy - last) <= _SAME_PERCENT:
        return
    which = [int(entry["epoch"]) for entry in epochs if abs(entry["test_accuracy"] - run.accuracy) <= _SAME_PERCENT]
    whose = f"that of epoch {which[0]} of {len(epochs)}" if which else f"of no epoch (the best is {best:.4g} %)"
    yield Finding(
        rule="DPA408",
        severity=Severity.MAJOR,
        strength=Strength.PROOF,
        message=(
            f"the accuracy quoted, {run.accuracy:.4g} %, is {whose}, and the final model's is {last:.4g} %: the checkpoint was "
            "chosen by a look at the test set, which nobody charged"
        ),
        file=run.directory,
        evidence={"accuracy": run.accuracy, "final": last, "best": best, "epochs": len(epochs)},
    )


def _audit(
    path: str, run: RunRecord, further: Sequence[Finding], selection: Selection | None, command: str
) -> AuditReport:
    config, rows = run.config, run.ledger
    sampled = config.cell.sampler in {Sampler.POISSON, Sampler.TRUNCATED_POISSON}
    record = RecordedRun(
        steps=tuple(
            RecordedStep(told=row.reported_sigma, rows=row.rows_sampled if sampled else row.rows_seen) for row in rows
        ),
        claimed_epsilon=_stated(run),
        accountant="run.json",
        selection=selection,
    )
    missing = config.total_steps - len(rows)
    measurement = recorded_measurement(
        (*(row.reported_sigma for row in rows), *(None,) * missing),
        (*(_well_below(row) for row in rows), *(None,) * missing),
    )
    return audit_record(path, config, measurement, record=record, further=further, command=command)


def _stated(run: RunRecord) -> float | None:
    """Epsilon that ``run.json`` states for its whole schedule; none for a run that is not complete."""
    stated = [value for name, value in run.metrics.items() if name.startswith("epsilon_")]
    return min(stated) if stated and run.completed and min(stated) >= 0 else None


def _well_below(row: LedgerRow) -> float | None:
    """The measured noise of a step where it is well below the reported one: a replayed step is read to about 1 %."""
    if row.measured_noise is None or row.reported_sigma is None or row.measured_noise >= 0.9 * row.reported_sigma:
        return None
    return row.measured_noise
