"""``run.json`` and ``ledger.jsonl`` as text, and back with every value checked.

What is read may have been written by anyone: types, ranges and the closed list of keys are checked, nothing is executed.
"""

import dataclasses
import json
from typing import Any

from dpaudit.contract import (
    Calibration,
    Cell,
    DataError,
    Form,
    LedgerRow,
    NonFinite,
    Relation,
    Rows,
    RunConfig,
    RunRecord,
    Sampler,
    UsageError,
)

from .checked_json import (
    boolean_at,
    closed_object,
    integer_at,
    number_at,
    numbers_at,
    object_at,
    optional_number_at,
    parse_json,
    text_at,
)
from .plain_settings import PlainSettings
from .recipe import Engine, Recipe
from .scattering_settings import ScatteringSettings

SCHEMA = "dpaudit.run/2"
RUN_KEYS = (
    "schema",
    "mechanism",
    "class_name",
    "source_sha256",
    "preset",
    "dataset",
    "form",
    "recipe",
    "engine",
    "config",
    "seed",
    "completed",
    "steps",
    "accuracy",
    "best_accuracy_on_test",
    "seconds",
    "versions",
    "metrics",
    "canaries",
    "features",
)
"""The closed list of keys of ``run.json``. None of them holds a training loss, a norm or a score."""


def run_to_json(record: RunRecord) -> str:
    """``run.json`` of a record, without its ledger."""
    values = {
        "schema": SCHEMA,
        "mechanism": record.mechanism,
        "class_name": record.class_name,
        "source_sha256": record.source_sha256,
        "preset": record.config.name,
        "dataset": record.dataset,
        "form": str(record.form),
        "recipe": dict(record.recipe),
        "engine": dict(record.engine),
        "config": config_to_json(record.config),
        "seed": record.seed,
        "completed": record.completed,
        "steps": len(record.ledger),
        "accuracy": record.accuracy,
        "best_accuracy_on_test": record.best_accuracy_on_test,
        "seconds": record.seconds,
        "versions": dict(record.versions),
        "metrics": dict(record.metrics),
        "canaries": record.canaries,
        "features": dict(record.features),
    }
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


def config_to_json(config: RunConfig) -> dict[str, Any]:
    """A run configuration as plain data; words become strings."""
    return dataclasses.asdict(config)


def config_from_json(values: object, *, where: str) -> RunConfig:
    """A run configuration from plain data.

    Raises:
        DataError: a key is missing or unknown, or a value is of the wrong type or out of range.
    """
    if isinstance(values, dict):  # runs recorded before there was a preparation had none
        values = {"preparation": [], **values}
    fields = closed_object(values, {field.name for field in dataclasses.fields(RunConfig)}, where=f"{where}: config")
    cell = closed_object(fields["cell"], {"sampler", "relation", "rows", "nonfinite"}, where=f"{where}: config.cell")
    shapes = fields["parameter_shapes"]
    if not (isinstance(shapes, list) and all(isinstance(s, list) and all(type(n) is int for n in s) for s in shapes)):
        raise DataError(f"{where}: config.parameter_shapes: expected a list of lists of integers, got {shapes!r:.200}")
    try:
        return RunConfig(
            dataset_size=integer_at(fields, "dataset_size", where),
            batch_size=integer_at(fields, "batch_size", where),
            epochs=integer_at(fields, "epochs", where),
            steps_per_epoch=integer_at(fields, "steps_per_epoch", where),
            expected_batch=number_at(fields, "expected_batch", where),
            max_grad_norm=number_at(fields, "max_grad_norm", where),
            target_epsilon=number_at(fields, "target_epsilon", where),
            target_delta=number_at(fields, "target_delta", where),
            noise_multiplier=number_at(fields, "noise_multiplier", where),
            cell=Cell(
                sampler=Sampler(cell["sampler"]),
                relation=Relation(cell["relation"]),
                rows=Rows(cell["rows"]),
                nonfinite=NonFinite(cell["nonfinite"]),
            ),
            calibration=Calibration(fields["calibration"]),
            parameter_shapes=tuple(tuple(shape) for shape in shapes),
            name=text_at(fields, "name", where),
            preparation=numbers_at(fields, "preparation", where),
        )
    except (ValueError, UsageError) as error:
        raise DataError(f"{where}: config: {error}") from error


def run_from_json(text: str, *, directory: str, ledger: tuple[LedgerRow, ...], where: str) -> RunRecord:
    """A record from ``run.json`` and its ledger.

    Raises:
        DataError: a key is missing or unknown, a value is malformed, or ledger and record contradict each other.
    """
    values = parse_json(text, where=where)
    if isinstance(values, dict):  # runs recorded before features were kept say nothing of them
        values = {"features": {}, **values}
    values = closed_object(values, set(RUN_KEYS), where=where)
    if values["schema"] != SCHEMA or values["form"] not in list(Form):
        raise DataError(
            f"{where}: expected schema {SCHEMA!r} and a form among {', '.join(Form)}, got {values['schema']!r:.80}, "
            f"{values['form']!r:.80}"
        )
    features = object_at(values, "features", where)
    versions, metrics = object_at(values, "versions", where), object_at(values, "metrics", where)
    record = RunRecord(
        directory=directory,
        mechanism=text_at(values, "mechanism", where),
        class_name=text_at(values, "class_name", where),
        source_sha256=text_at(values, "source_sha256", where),
        dataset=text_at(values, "dataset", where),
        config=config_from_json(values["config"], where=where),
        seed=integer_at(values, "seed", where),
        completed=boolean_at(values, "completed", where),
        accuracy=optional_number_at(values, "accuracy", where),
        best_accuracy_on_test=optional_number_at(values, "best_accuracy_on_test", where),
        seconds=number_at(values, "seconds", where),
        ledger=ledger,
        form=Form(values["form"]),
        recipe=_checked_settings(Recipe, object_at(values, "recipe", where), where),
        engine=_checked_settings(Engine, object_at(values, "engine", where), where),
        versions={key: text_at(versions, key, where) for key in versions},
        metrics={key: number_at(metrics, key, where) for key in metrics},
        canaries=integer_at(values, "canaries", where),
        features=_checked_settings(ScatteringSettings, features, where) if features else {},
    )
    _check_consistency(record, steps=integer_at(values, "steps", where), where=where)
    return record


def _checked_settings(kind: type[PlainSettings], values: dict[str, Any], where: str) -> dict[str, Any]:
    """Plain data that are such settings; nothing else is let in."""
    try:
        return kind.from_json(values, where=kind.__name__.lower()).to_json()
    except UsageError as error:
        raise DataError(f"{where}: {kind.__name__.lower()}: {error}") from error


def _check_consistency(record: RunRecord, *, steps: int, where: str) -> None:
    if steps != len(record.ledger):
        raise DataError(f"{where}: expected a ledger of {steps} steps, got {len(record.ledger)}")
    if record.completed and (steps != record.config.total_steps or record.accuracy is None):
        raise DataError(
            f"{where}: a completed run has {record.config.total_steps} steps and an accuracy, got {steps} steps and "
            f"accuracy {record.accuracy}"
        )
    for name in ("accuracy", "best_accuracy_on_test"):
        value = getattr(record, name)
        if value is not None and not 0 <= value <= 100:
            raise DataError(f"{where}: expected {name} in percent, 0 to 100, got {value!r}")
    for row in record.ledger:
        if row.epoch != record.config.epoch_of(row.step):
            raise DataError(
                f"{where}: step {row.step} lies in epoch {record.config.epoch_of(row.step)}, the ledger says {row.epoch}"
            )
