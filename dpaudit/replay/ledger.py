"""Compare the ledger of a real training run with what the probe saw and with what the configuration declares."""

from collections.abc import Iterator

from dpaudit.contract import (
    Finding,
    Measurement,
    NonFinite,
    RunConfig,
    RunRecord,
    Severity,
    Strength,
)

from .schedules import SIGMA_TOLERANCE


def compare_ledger(
    config: RunConfig, measurement: Measurement, record: RunRecord, *, file: str, rerun: str
) -> Iterator[Finding]:
    """What a run's own record contradicts.

    Assumptions: ``record`` ran under ``config``'s cell and schedule (``record.config`` equals it); a run of another
    configuration says nothing about this one and must not be passed.
    """
    differing = [
        row.step for row in record.ledger if not _agree(row.reported_sigma, _at(measurement.reported, row.step))
    ]
    if differing:
        step = differing[0]
        told = next(row.reported_sigma for row in record.ledger if row.step == step)
        yield Finding(
            rule="DPA407",
            severity=Severity.MAJOR,
            strength=Strength.PROOF,
            message=(
                f"the run of seed {record.seed} was told sigma {told!r} at step {step}, the probe "
                f"{_at(measurement.reported, step)!r}; they differ at {len(differing)} of {len(record.ledger)} steps."
            ),
            file=file,
            evidence={"step": step, "seed": record.seed, "directory": record.directory},
            rerun=rerun,
        )
    nonfinite = sum(row.rows_nonfinite for row in record.ledger)
    if nonfinite and config.cell.nonfinite is NonFinite.GUARDED:
        yield Finding(
            rule="DPA502",
            severity=Severity.MINOR,
            strength=Strength.PROOF,
            message=f"the harness zeroed {nonfinite} rows with a NaN or an Inf in the run of seed {record.seed}.",
            file=file,
            evidence={"rows": nonfinite, "seed": record.seed},
            rerun=rerun,
        )


def _at(values: tuple[float | None, ...], step: int) -> float | None:
    return values[step] if 0 <= step < len(values) else None


def _agree(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) <= SIGMA_TOLERANCE * max(abs(first), abs(second))
