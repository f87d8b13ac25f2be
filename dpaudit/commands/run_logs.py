"""``dpaudit train --log``: the metrics of a run directory in other formats. ``metrics.jsonl`` is always there."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from dpaudit.contract import DataError, UsageError

Writer = Callable[[Path], None]


def log_writers(names: str | None) -> list[Writer]:
    """The writers of ``csv,tensorboard``; each takes a run directory.

    Raises:
        UsageError: an unknown name, or tensorboard is not installed. Nothing has been trained by then.
    """
    known: dict[str, Callable[[], Writer]] = {"csv": lambda: write_csv, "tensorboard": _tensorboard}
    writers = []
    for name in (names or "").split(",") if names else ():
        if name not in known:
            raise UsageError(f"--log: expected names among {', '.join(known)}, got {name!r}")
        writers.append(known[name]())
    return writers


def write_csv(directory: Path) -> None:
    """``metrics.csv`` beside ``metrics.jsonl``, with the same columns."""
    from harness.atomic_files import write_atomically

    rows = _metrics(directory)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(directory / "metrics.csv", stream.getvalue().encode())


def _tensorboard() -> Writer:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError(
            "--log tensorboard: the package tensorboard is not installed; pip install tensorboard"
        ) from None

    def write(directory: Path) -> None:
        writer = SummaryWriter(str(directory / "tensorboard"))
        for row in _metrics(directory):
            for name in ("test_accuracy", "learning_rate"):
                writer.add_scalar(name, row[name], int(row["epoch"]))
        writer.close()

    return write


def _metrics(directory: Path) -> list[dict[str, float]]:
    path = directory / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("no objects")
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"--log: expected one JSON object a line in {path}, got {type(error).__name__}; train again"
        ) from None
    return rows
