"""The run directory: what a run leaves behind for a later audit, each file whole or absent.

``run.json`` the record, ``ledger.jsonl`` one line a step, ``metrics.jsonl`` one line an epoch (test accuracy, learning
rate, seconds), ``checkpoint.pt`` private and for resuming only. Raw training loss and norms are private and not kept.
"""

import json
from pathlib import Path

from dpaudit.contract import DataError, LedgerRow, RunRecord

from .atomic_files import write_atomically
from .checked_json import number_at, parse_json
from .ledger_json import ledger_from_jsonl, ledger_to_jsonl
from .run_json import run_from_json, run_to_json

RUN_FILE = "run.json"
LEDGER_FILE = "ledger.jsonl"
METRICS_FILE = "metrics.jsonl"


def write_run(directory: Path, record: RunRecord, *, epochs: list[dict[str, float]]) -> None:
    """Write ledger, metrics and record, the record last: a ``run.json`` never describes files that are not there yet.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    lines = "".join(json.dumps(entry, allow_nan=False) + "\n" for entry in epochs)
    write_atomically(directory / LEDGER_FILE, ledger_to_jsonl(record.ledger).encode())
    write_atomically(directory / METRICS_FILE, lines.encode())
    write_atomically(directory / RUN_FILE, run_to_json(record).encode())


def write_ledger(directory: Path, rows: tuple[LedgerRow, ...]) -> None:
    """Replace the ledger, for columns that are filled in after the run.

    Raises:
        DataError: the folder cannot be written.
    """
    write_atomically(directory / LEDGER_FILE, ledger_to_jsonl(rows).encode())


def read_run(directory: Path | str) -> RunRecord:
    """The record of a run directory, every value checked.

    Raises:
        DataError: a file is absent or malformed, or record and ledger contradict each other.
    """
    directory = Path(directory)
    ledger = read_ledger(directory)
    path = directory / RUN_FILE
    return run_from_json(_text_of(path), directory=str(directory), ledger=ledger, where=str(path))


def read_ledger(directory: Path) -> tuple[LedgerRow, ...]:
    """The ledger of a run directory.

    Raises:
        DataError: absent or malformed.
    """
    path = directory / LEDGER_FILE
    return ledger_from_jsonl(_text_of(path), where=str(path))


def read_epochs(directory: Path | str) -> tuple[dict[str, float], ...]:
    """The lines of ``metrics.jsonl``: at least ``epoch`` and ``test_accuracy`` (percent) of every epoch, in order.

    Raises:
        DataError: absent or malformed.
    """
    path = Path(directory) / METRICS_FILE
    found = []
    for number, line in enumerate(_text_of(path).splitlines(), start=1):
        where = f"{path}:{number}"
        values = parse_json(line, where=where)
        if not isinstance(values, dict):
            raise DataError(f"{where}: expected a JSON object, got {line!r:.80}")
        entry = {name: number_at(values, name, where) for name in values}
        if entry.get("epoch") != number or "test_accuracy" not in entry:
            raise DataError(f"{where}: expected epoch {number} with its test_accuracy, got {line!r:.120}")
        found.append(entry)
    return tuple(found)


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"run directory: expected a readable {path}, got {type(error).__name__}; give the folder of a training run"
        ) from error
