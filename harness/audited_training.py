"""What an auditor asks of the harness: trainings in a confined child, and their evidence read back without candidate code."""

import dataclasses
from pathlib import Path

from dpaudit.contract import DataError, LedgerRow, RunConfig, RunRecord

from .canaries import CanaryPlan
from .candidate import Candidate
from .checked_json import boolean_at, closed_object, integer_at, optional_number_at
from .confined import TrainingFailure, run_confined
from .repeated_training import WorstCase, require_playable
from .run_directory import read_run, write_ledger
from .run_json import config_to_json
from .step_replay import ReplayedStep


def replay_run(
    record: RunRecord, candidate: Candidate, *, time_limit: float, data_root: Path | str | None = None
) -> tuple[ReplayedStep, ...] | TrainingFailure:
    """Replay the stored steps of a run in a later, confined process, and fill in the measured columns of its ledger."""
    values = {"directory": str(Path(record.directory).resolve())}
    answer = run_confined("replay", values, candidate, time_limit=time_limit, device="cpu", data_root=data_root)
    if isinstance(answer, TrainingFailure):
        return answer
    where = "replayed steps"
    rows = closed_object(answer, {"steps"}, where=where)["steps"]
    if not isinstance(rows, list):
        raise DataError(f"{where}: expected a list, got {type(rows).__name__}")
    steps = tuple(_step(row, record.config.total_steps, where) for row in rows)
    measured = {step.step: step for step in steps if step.reproduced}
    write_ledger(Path(record.directory), tuple(_filled(row, measured) for row in record.ledger))
    return steps


def train_shadow_models(
    candidate: Candidate,
    config: RunConfig,
    plan: CanaryPlan,
    *,
    models: int,
    seed: int,
    out: Path,
    time_limit: float,
    data_root: Path | str | None = None,
) -> TrainingFailure | None:
    """:func:`harness.shadow_training.train_shadows` in a confined child; a failure, or nothing."""
    values = {
        "config": config_to_json(config),
        "canaries": dataclasses.asdict(plan),
        "models": models,
        "seed": seed,
        "out": str(out.resolve()),
    }
    answer = run_confined("shadow", values, candidate, time_limit=time_limit, device="cpu", data_root=data_root)
    return answer if isinstance(answer, TrainingFailure) else None


def train_worst_case(
    candidate: Candidate,
    config: RunConfig,
    case: WorstCase,
    *,
    runs: int,
    seed: int,
    out: Path,
    time_limit: float,
    data_root: Path | str | None = None,
) -> TrainingFailure | None:
    """:func:`harness.repeated_training.train_repeatedly` in a confined child; a failure, or nothing.

    Raises:
        UsageError: the cell is not played.
    """
    require_playable(config)
    values = {
        "config": config_to_json(config),
        "kind": case.kind.value,
        "fitted_weights": case.fitted_weights,
        "runs": runs,
        "seed": seed,
        "out": str(out.resolve()),
    }
    answer = run_confined("repeat", values, candidate, time_limit=time_limit, device="cpu", data_root=data_root)
    return answer if isinstance(answer, TrainingFailure) else None


def run_in(directory: Path) -> RunRecord | None:
    """The finished run of a folder, or ``None`` where there is none yet."""
    if not (directory / "run.json").exists():
        return None
    record = read_run(directory)
    return record if record.completed else None


def _filled(row: LedgerRow, measured: dict[int, ReplayedStep]) -> LedgerRow:
    step = measured.get(row.step)
    if step is None:
        return row
    return dataclasses.replace(row, measured_noise=step.measured_noise, largest_contribution=step.largest_contribution)


def _step(row: object, total: int, where: str) -> ReplayedStep:
    names = {field.name for field in dataclasses.fields(ReplayedStep)}
    values = closed_object(row, names, where=where)
    step = integer_at(values, "step", where)
    if not 0 <= step < total:
        raise DataError(f"{where}: expected a step below {total}, got {step}")
    return ReplayedStep(
        step=step,
        reproduced=boolean_at(values, "reproduced", where),
        largest_contribution=optional_number_at(values, "largest_contribution", where),
        measured_noise=optional_number_at(values, "measured_noise", where),
    )
