"""Train an untrusted candidate in a child process with limits (:mod:`harness.confined`).

The record is read back from the run directory and every value is checked.
"""

import dataclasses
from pathlib import Path

from dpaudit.contract import DataError, Form, RunConfig, RunRecord

from .canaries import CanaryPlan
from .candidate import read_candidate
from .confined import TrainingFailure, run_confined
from .recipe import Engine, Recipe
from .run_directory import read_run
from .run_json import config_to_json


def train_in_subprocess(
    spec: str,
    preset_name: str,
    *,
    seed: int,
    out: Path | str,
    config: RunConfig,
    time_limit: float,
    device: str = "auto",
    data_root: Path | str | None = None,
    epochs: int | None = None,
    resume: bool = False,
    max_steps: int | None = None,
    form: Form | str | None = Form.PLAIN,
    recipe: Recipe | None = None,
    engine: Engine | None = None,
    hold_out: int = 0,
    canaries: CanaryPlan | None = None,
) -> RunRecord | TrainingFailure:
    """:func:`harness.train` in a process of its own, ended with all its descendants after ``time_limit`` seconds.

    Returns:
        The record, read back and checked against what was asked for; or why there is none.

    Raises:
        UsageError: the candidate's file cannot be read. Nothing was started.
    """
    candidate = read_candidate(spec)
    out = Path(out).resolve()
    values = {
        "preset": preset_name,
        "seed": seed,
        "out": str(out),
        "config": config_to_json(config),
        "epochs": epochs,
        "resume": resume,
        "max_steps": max_steps,
        "form": None if form is None else str(form),
        "recipe": None if recipe is None else recipe.to_json(),
        "engine": None if engine is None else engine.to_json(),
        "hold_out": hold_out,
        "canaries": None if canaries is None else dataclasses.asdict(canaries),
    }
    answer = run_confined("train", values, candidate, time_limit=time_limit, device=device, data_root=data_root)
    if isinstance(answer, TrainingFailure):
        return answer
    return _checked_record(out, file=candidate.path, sha256=candidate.sha256, config=config, seed=seed)


def _checked_record(out: Path, *, file: str, sha256: str, config: RunConfig, seed: int) -> RunRecord | TrainingFailure:
    try:
        record = read_run(out)
    except DataError as error:
        return TrainingFailure(kind="failed", message=f"training: the run cannot be read back: {error}", file=file)
    if (record.source_sha256, record.config, record.seed) != (sha256, config, seed):
        return TrainingFailure(
            kind="failed",
            message=f"training: {out} holds a run of another source, configuration or seed than was asked for",
            file=file,
        )
    return record
