"""A recorded training run of any framework (JSONL) as a run configuration and a measurement, for replay alone.

The format is described in ``docs/howto-ledger.md``: a first line of facts, then one line a step.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpaudit.contract import (
    Calibration,
    Cell,
    DataError,
    Measurement,
    NoiseClass,
    NonFinite,
    Outcome,
    RecordedRun,
    RecordedStep,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    UsageError,
)

from .ledger_facts import OPTIONAL_FACTS, OPTIONAL_STEP, optional_facts, optional_step

FORMAT = "dpaudit.ledger/1"
_FACTS = {"format", "name", "dataset_size", "batch_size", "expected_batch", "epochs", "steps_per_epoch", "max_grad_norm",
          "target_epsilon", "target_delta", "noise_multiplier", "sampler", "relation", "rows"}  # fmt: skip
_NEEDED = _FACTS - {"name", "expected_batch", "relation", "rows", "noise_multiplier"}
_KNOWN = _FACTS | OPTIONAL_FACTS
_STEP = {"step", "sigma", "noise_std", "max_contribution"} | OPTIONAL_STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """A ledger: the run that it claims, the noise that it says each step had, and what else it records."""

    config: RunConfig
    measurement: Measurement
    record: RecordedRun


def read_ledger(path: Path) -> Ledger:
    """Read a ledger.

    ``measured`` of a step is ``noise_std / max_contribution`` where both were recorded. It is the recorder's word: it is
    never taken as demonstrated, so that no lower end of epsilon follows from it.

    Raises:
        UsageError: the file cannot be read.
        DataError: a line is malformed, a key is unknown or missing, a step is missing or out of order. Names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--ledger: cannot read {path}: {error}") from None
    rows = list(_rows(path, lines))
    if not rows:
        raise DataError(f"{path}: expected a first line of facts with format {FORMAT!r}, got an empty file")
    config = _config(path, rows[0][1])
    steps = [_step(path, number, row, at) for at, (number, row) in enumerate(rows[1:])]
    if len(steps) != config.total_steps:
        raise DataError(f"{path}: expected {config.total_steps} steps (epochs times steps_per_epoch), got {len(steps)}")
    told, measured = tuple(step.told for step, _ in steps), tuple(noise for _, noise in steps)
    return Ledger(
        config=config,
        measurement=recorded_measurement(told, measured),
        record=optional_facts(rows[0][1], tuple(step for step, _ in steps), where=f"{path}, line 1"),
    )


def _rows(path: Path, lines: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: expected a JSON object, got {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row


def _config(path: Path, facts: Mapping[str, Any]) -> RunConfig:
    if facts.get("format") != FORMAT:
        raise DataError(f"{path}, line 1: expected format {FORMAT!r}, got {facts.get('format')!r}")
    for key in sorted(set(facts) - _KNOWN):
        raise DataError(f"{path}, line 1: unknown key {key!r}; known: {', '.join(sorted(_KNOWN))}")
    for key in sorted(_NEEDED - set(facts)):
        raise DataError(f"{path}, line 1: expected the key {key!r}, got none")
    try:
        sampler = Sampler(facts["sampler"])
        sampled = sampler is Sampler.POISSON
        cell = Cell(
            sampler=sampler,
            relation=Relation(facts.get("relation", Relation.ADD_REMOVE if sampled else Relation.ZERO_OUT)),
            rows=Rows(facts.get("rows", Rows.SAMPLED if sampled else Rows.CONSTANT)),
            nonfinite=NonFinite.GUARDED,
        )
        return RunConfig(
            name=str(facts.get("name", path.stem)),
            dataset_size=_whole(path, facts, "dataset_size"),
            batch_size=_whole(path, facts, "batch_size"),
            expected_batch=float(facts.get("expected_batch", facts["batch_size"])),
            epochs=_whole(path, facts, "epochs"),
            steps_per_epoch=_whole(path, facts, "steps_per_epoch"),
            max_grad_norm=float(facts["max_grad_norm"]),
            target_epsilon=float(facts["target_epsilon"]),
            target_delta=float(facts["target_delta"]),
            noise_multiplier=float(facts.get("noise_multiplier", 0.0)),
            cell=cell,
            calibration=Calibration.PLD,
            parameter_shapes=(),
        )
    except DataError:
        raise
    except (UsageError, ValueError, TypeError, OverflowError) as error:
        raise DataError(f"{path}, line 1: {error}") from None


def _whole(path: Path, facts: Mapping[str, Any], key: str) -> int:
    value = facts[key]
    if not isinstance(value, int) or isinstance(value, bool):
        raise DataError(f"{path}, line 1: {key}: expected a whole number, got {value!r}")
    return value


def _step(path: Path, number: int, row: Mapping[str, Any], at: int) -> tuple[RecordedStep, float | None]:
    """What one line says, and the noise multiplier that it says was measured."""
    for key in sorted(set(row) - _STEP):
        raise DataError(f"{path}, line {number}: unknown key {key!r}; known: {', '.join(sorted(_STEP))}")
    if row.get("step") != at:
        raise DataError(f"{path}, line {number}: expected step {at}, got {row.get('step')!r}")
    sigma, noise, largest = (_number(path, number, row, key) for key in ("sigma", "noise_std", "max_contribution"))
    measured = noise / largest if noise is not None and largest else None
    return optional_step(row, sigma, where=f"{path}, line {number}"), measured


def _number(path: Path, line: int, row: Mapping[str, Any], key: str) -> float | None:
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= sys.float_info.max:
        raise DataError(f"{path}, line {line}: {key}: expected a finite number >= 0 or null, got {value!r}")
    return float(value)


def recorded_measurement(reported: tuple[float | None, ...], measured: tuple[float | None, ...]) -> Measurement:
    """A measurement that says of itself that it is the recorder's word: no lower end of epsilon follows from it."""
    return Measurement(
        outcome=Outcome.PASSED if all(sigma is not None for sigma in reported) else Outcome.INCONCLUSIVE,
        reported=reported,
        measured=measured,
        classes=(NoiseClass.UNRESOLVED,) * len(reported),
        demonstrated=False,
        pair="",
        findings=(),
        seconds=0.0,
        notes=(
            "A recorded ledger alone was looked at: no code was read or run, and every number in it is the recorder's word.",
        ),
    )
