"""``dpaudit sweep``: a grid of settings on a validation split; interrupted sweeps go on where they stopped."""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpaudit.contract import DataError, ExitCode, RunRecord, UsageError

from .recipe import engine_of, form_of, recipe_of
from .training import has_checkpoint

if TYPE_CHECKING:
    from harness.sweep import Point

SWEEP_FILE = "sweep.json"


def run(arguments: argparse.Namespace) -> ExitCode:
    """Train every point and seed, write the table after each point, then choose."""
    import harness
    from harness.sweep import grid_points

    file = Path(arguments.path.partition("::")[0])
    if not file.is_file():
        raise UsageError(f"sweep: no such file: {str(file)!r}; give a mechanism file, or file.py::ClassName")
    points = grid_points(
        arguments.preset, _grid(arguments.grid), recipe=recipe_of(arguments), hold_out=arguments.hold_out
    )
    out = Path(arguments.out or "sweep")
    rows: list[dict[str, Any]] = []
    for number, point in enumerate(points, start=1):
        records = []
        for seed in harness.seeds(arguments.runs):
            if not arguments.quiet:
                print(f"{number} of {len(points)}: {point.name}, seed {seed}", file=sys.stderr)
            record = _train(point, seed, out, arguments)
            if not record.completed:
                print("stopped; the same sweep command goes on from here", file=sys.stderr)
                raise KeyboardInterrupt
            records.append(record)
        rows.append(_row(point, records))
    table = {
        "schema": "dpaudit.sweep/1",
        "preset": arguments.preset,
        "hold_out": arguments.hold_out,
        "rows": rows,
        **_choice(rows, arguments, out / SWEEP_FILE),
        "spent": _spent(points, arguments.runs),
    }
    _write(out / SWEEP_FILE, table)
    sys.stdout.write(_text(table))
    return ExitCode.ALL_ACCEPTED


def _train(point: "Point", seed: int, out: Path, arguments: argparse.Namespace) -> RunRecord:
    import harness

    place = out / f"{_folder(point, arguments)}-{seed}"
    return harness.train(
        arguments.path,
        arguments.preset,
        seed=seed,
        out=place,
        config=point.config,
        device=arguments.device,
        data_root=arguments.data_root,
        resume=has_checkpoint(place),
        progress=not arguments.quiet,
        form=form_of(arguments),
        recipe=point.recipe,
        engine=engine_of(arguments),
        hold_out=arguments.hold_out,
    )


def _folder(point: "Point", arguments: argparse.Namespace) -> str:
    """A name for everything that distinguishes a run, so that another mechanism or recipe never resumes it."""
    source = Path(arguments.path.partition("::")[0]).read_bytes()
    words = repr((point.config, point.recipe, engine_of(arguments), arguments.form, arguments.path.partition("::")[2]))
    return f"{point.name}-{hashlib.sha256(source + words.encode()).hexdigest()[:10]}"


def _row(point: "Point", records: Sequence[RunRecord]) -> dict[str, Any]:
    accuracies = [record.accuracy for record in records if record.accuracy is not None]
    return {
        "settings": dict(point.settings),
        "noise_multiplier": point.config.noise_multiplier,
        "accuracies": accuracies,
        "mean": sum(accuracies) / len(accuracies),
        "dataset": records[0].dataset,
        "directories": [record.directory for record in records],
    }


def _choice(rows: Sequence[dict[str, Any]], arguments: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The chosen row. A private choice is made once: another draw would spend its epsilon again."""
    from harness.sweep import private_choice

    epsilon = arguments.selection_epsilon
    if epsilon is None:
        best = max(range(len(rows)), key=lambda index: float(rows[index]["mean"]))
        return {"chosen": best, "selection_epsilon": None}
    if path.is_file():
        before = _chosen_before(path)
        if before["selection_epsilon"] == epsilon and before["rows"] == list(rows):
            return {"chosen": before["chosen"], "selection_epsilon": epsilon}
    correct = [row["mean"] / 100 * arguments.hold_out for row in rows]
    return {"chosen": private_choice(correct, epsilon=epsilon), "selection_epsilon": epsilon}


def _chosen_before(path: Path) -> dict[str, Any]:
    """The table of an earlier sweep into this folder. One that cannot be read is no leave to choose again."""
    try:
        before: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        number = before["chosen"]
        if isinstance(number, bool) or not 0 <= number < len(before["rows"]) or int(number) != number:
            raise ValueError(number)
        return {**before, "selection_epsilon": before.get("selection_epsilon"), "chosen": int(number)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"sweep: {path} should hold the table of an earlier sweep, and cannot be read ({type(error).__name__}); a private "
            "choice that was made may be lost with it: choose another --out, and count that choice's epsilon too"
        ) from None


def _spent(points: Sequence["Point"], runs: int) -> dict[str, Any]:
    from harness.sweep import spent_on_trials

    spent = spent_on_trials([point.config for point in points for _ in range(runs)])
    return {"epsilon": spent.epsilon, "delta": spent.delta, "method": spent.method, "trainings": len(points) * runs}


def _text(table: dict[str, Any]) -> str:
    rows = table["rows"]
    names = [", ".join(f"{key} {value}" for key, value in row["settings"].items()) for row in rows]
    width = max(len(name) for name in names)
    lines = [f"{'settings':{width}}  accuracy on the validation split, %"]
    for index, (name, row) in enumerate(zip(names, rows, strict=True)):
        values = " ".join(f"{value:.2f}" for value in row["accuracies"])
        mark = "  <- chosen" if index == table["chosen"] else ""
        lines.append(f"{name:{width}}  {row['mean']:.2f} ({values}), sigma {row['noise_multiplier']:.4f}{mark}")
    spent = table["spent"]
    lines.append(
        f"An example of the training part was used by all {spent['trainings']} trainings: together epsilon at most "
        f"{spent['epsilon']:.3f} at delta {spent['delta']:g} ({spent['method']}), if sigma is what every step had."
    )
    lines.append(
        "The accuracies in this table are raw facts about the validation part: do not publish them as private."
    )
    if table["selection_epsilon"] is None:
        lines.append(
            "The best was simply taken: for the validation part the choice is NOT private. Declare it, or choose"
        )
        lines.append("by --selection-epsilon. A final training on all examples costs its own epsilon on top.")
    else:
        lines.append(
            f"Chosen by the exponential mechanism: epsilon {table['selection_epsilon']:g}, delta 0, for the validation part. "
            "A final training on all examples adds its own epsilon to the larger of the two."
        )
    return "\n".join(lines) + "\n"


def _write(path: Path, table: dict[str, Any]) -> None:
    from harness.atomic_files import write_atomically

    write_atomically(path, (json.dumps(table, indent=2, allow_nan=False) + "\n").encode())


def _grid(given: Sequence[str]) -> dict[str, list[str]]:
    grid: dict[str, list[str]] = {}
    for text in given:
        name, separator, values = text.partition("=")
        if not separator or not values or name in grid:
            raise UsageError(f"--grid: expected NAME=A,B with each name once, got {text!r}")
        grid[name.replace("-", "_")] = values.split(",")
    return grid
