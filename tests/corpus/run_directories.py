"""Run-level specimens that are run directories: three real trainings on digits (``recorded/``), as they are and altered.

The trainings are ``dpaudit train mechanisms/accepted/standard_dpsgd.py --preset digits --epochs 2 --runs 3`` without their
checkpoints. A broken specimen is what a faulty harness, or an over-eager author, would have left in their place.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import truth

RECORDED = Path(__file__).parent / "recorded"
SIZE, BATCH, STEPS, DELTA, SIGMA = 1437, 64, 44, 1e-5, 0.8916645759484142
RATE = BATCH / SIZE

Record, Rows, Epochs = dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]
Change = Callable[[Record, Rows, Epochs], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDirectory:
    """One run directory, or a folder of several.

    Attributes:
        change: of record, ledger and metrics of each run.
        runs: seeds; several lie side by side in one folder.
        expected: ``rejected``, ``held``, ``refused`` (the reader does not take it) or ``nothing``.
        epsilon: true epsilon or a lower bound, where there is a number.
    """

    name: str
    change: Change
    runs: tuple[int, ...] = (123,)
    expected: str = "nothing"
    rules: tuple[str, ...] = ()
    epsilon: float | None = None

    def write(self, folder: Path) -> Path:
        """Into a folder; the path that the command is given."""
        for seed in self.runs:
            _write(folder / f"digits-{seed}", RECORDED / f"digits-{seed}", self.change)
        return folder if len(self.runs) > 1 else folder / f"digits-{self.runs[0]}"


def _write(target: Path, source: Path, change: Change) -> None:
    shutil.copytree(source, target)
    record = json.loads((target / "run.json").read_text(encoding="utf-8"))
    rows, epochs = (
        [json.loads(line) for line in (target / name).read_text(encoding="utf-8").splitlines()]
        for name in ("ledger.jsonl", "metrics.jsonl")
    )
    change(record, rows, epochs)
    (target / "run.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    for name, lines in (("ledger.jsonl", rows), ("metrics.jsonl", epochs)):
        (target / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def run_directories() -> Iterator[RunDirectory]:
    """All of them."""
    thrice = truth.sigma_for(3.0, DELTA, RATE, 3 * STEPS)
    yield from _sampler()
    yield from _resumed()
    yield from _sigma()
    yield RunDirectory(
        name="c32_run_directory/blatant", runs=(42, 123, 456), change=_as_it_is, expected="rejected", rules=("DPA408",),
        epsilon=truth.epsilon(SIGMA, DELTA, RATE, 3 * STEPS),
    )  # fmt: skip
    yield RunDirectory(name="c32_run_directory/subtle", change=_best_epoch, expected="held", rules=("DPA408",))
    yield RunDirectory(name="c32_run_directory/clean_blatant", runs=(42, 123, 456), change=_with_sigma(thrice))
    yield RunDirectory(name="c32_run_directory/clean_subtle", change=_labelled_best)


def _sampler() -> Iterator[RunDirectory]:
    """The ledger's sampler is not the one that was accounted."""
    faster = 1.5 * RATE
    yield RunDirectory(
        name="c05_run_directory/blatant", change=_drawn(faster), expected="rejected", rules=("DPA402",),
        epsilon=truth.epsilon(SIGMA, DELTA, faster, STEPS),
    )  # fmt: skip
    yield RunDirectory(name="c05_run_directory/subtle", change=_shuffled, expected="held", rules=("DPA402",))
    yield RunDirectory(name="c05_run_directory/clean_blatant", change=_as_it_is)
    yield RunDirectory(name="c05_run_directory/clean_subtle", change=_drawn(RATE))


def _resumed() -> Iterator[RunDirectory]:
    """A resumed run that lost steps of its record, or took some twice."""
    yield RunDirectory(name="c29_run_directory/blatant", change=_lost(11), expected="refused")
    yield RunDirectory(name="c29_run_directory/subtle", change=_repeated(5), expected="refused")
    yield RunDirectory(name="c29_run_directory/renumbered", change=_continued(5), expected="refused")
    yield RunDirectory(name="c29_run_directory/clean_blatant", runs=(456,), change=_as_it_is)
    yield RunDirectory(name="c29_run_directory/clean_subtle", change=_interrupted)


def _sigma() -> Iterator[RunDirectory]:
    """The ledger's sigma is below what was calibrated, or what was stated."""
    half = [SIGMA] * (STEPS // 2) + [SIGMA / 2] * (STEPS // 2)
    yield RunDirectory(
        name="c35_run_directory/blatant", change=_schedule(half), expected="rejected", rules=("DPA405",),
        epsilon=truth.epsilon_of(half, DELTA, RATE),
    )  # fmt: skip
    yield RunDirectory(
        name="c35_run_directory/subtle", change=_schedule([0.97 * SIGMA] * STEPS), expected="rejected", rules=("DPA405",),
        epsilon=truth.epsilon(0.97 * SIGMA, DELTA, RATE, STEPS),
    )  # fmt: skip
    yield RunDirectory(
        name="c35_run_directory/stated", change=_states(2.5), expected="held", rules=("DPA401",),
        epsilon=truth.epsilon(SIGMA, DELTA, RATE, STEPS),
    )  # fmt: skip
    yield RunDirectory(name="c35_run_directory/replayed", change=_replayed(0.6), expected="held", rules=("DPA403",))
    yield RunDirectory(name="c35_run_directory/clean_blatant", change=_with_sigma(1.2 * SIGMA))
    yield RunDirectory(name="c35_run_directory/clean_subtle", change=_replayed(0.995))


# ---- changes ------------------------------------------------------------------------------------------------------------


def _as_it_is(record: Record, rows: Rows, epochs: Epochs) -> None:
    """Nothing."""


def _drawn(rate: float) -> Change:
    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        draw = random.Random(5)
        for row in rows:
            row["rows_seen"] = row["rows_sampled"] = sum(draw.random() < rate for _ in range(SIZE))

    return change


def _shuffled(record: Record, rows: Rows, epochs: Epochs) -> None:
    for row in rows:
        row["rows_seen"] = row["rows_sampled"] = BATCH


def _lost(count: int) -> Change:
    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        del rows[-count:]
        record["steps"] = len(rows)

    return change


def _repeated(count: int) -> Change:
    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        middle = STEPS // 2
        rows[middle:middle] = [dict(row) for row in rows[middle - count : middle]]
        record["steps"] = len(rows)

    return change


def _continued(count: int) -> Change:
    """The steps after the resume are appended under new numbers, and the run is called unfinished."""

    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        for _ in range(count):
            rows.append({**rows[-1], "step": len(rows), "epoch": len(rows) // 22 + 1})
        record["steps"], record["completed"] = len(rows), False

    return change


def _interrupted(record: Record, rows: Rows, epochs: Epochs) -> None:
    """Stopped after its first epoch, and says so."""
    del rows[STEPS // 2 :], epochs[1:]
    record["steps"], record["completed"], record["accuracy"], record["best_accuracy_on_test"] = (
        len(rows),
        False,
        None,
        None,
    )


def _schedule(sigmas: list[float]) -> Change:
    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        for row, sigma in zip(rows, sigmas, strict=True):
            row["reported_sigma"] = sigma

    return change


def _with_sigma(sigma: float) -> Change:
    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        _schedule([sigma] * len(rows))(record, rows, epochs)
        record["config"]["noise_multiplier"] = sigma

    return change


def _states(epsilon: float) -> Change:
    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        record["metrics"]["epsilon_digits"] = epsilon

    return change


def _replayed(factor: float) -> Change:
    """Steps that were run again show so much of the reported noise."""

    def change(record: Record, rows: Rows, epochs: Epochs) -> None:
        for row in rows[::7]:
            row["measured_noise"], row["largest_contribution"] = factor * row["reported_sigma"], 1.0

    return change


def _best_epoch(record: Record, rows: Rows, epochs: Epochs) -> None:
    """The first epoch's checkpoint was better on the test set, and is the one that is quoted."""
    epochs[0]["test_accuracy"] = 71.0
    record["accuracy"] = record["best_accuracy_on_test"] = record["metrics"]["accuracy_digits"] = 71.0


def _labelled_best(record: Record, rows: Rows, epochs: Epochs) -> None:
    epochs[0]["test_accuracy"] = record["best_accuracy_on_test"] = record["metrics"]["best_accuracy_digits"] = 71.0
