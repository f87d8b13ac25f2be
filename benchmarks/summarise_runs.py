"""Summarise run directories as one small JSON document: settings, seeds, accuracies, epsilon, ledger and versions.

    python benchmarks/summarise_runs.py RUN_DIRECTORY ... > summary.json

Runs of one mechanism and configuration stand together. Epsilon is accounted again from every run's own ledger. Nothing but
``run.json`` and ``ledger.jsonl`` is read, and nothing is executed.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import harness
from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import EventTrace, RunRecord


def summary(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Runs of one mechanism under one configuration."""
    first = records[0]
    accuracies = [record.accuracy for record in records if record.accuracy is not None]
    return {
        "preset": first.config.name,
        "dataset": first.dataset,
        "mechanism": f"{first.mechanism}::{first.class_name}",
        "source_sha256": first.source_sha256,
        "accuracy": {
            "what": "test accuracy of the final model, percent",
            "runs": len(accuracies),
            "mean": round(statistics.fmean(accuracies), 3),
            "std": round(statistics.stdev(accuracies), 3) if len(accuracies) > 1 else None,
            "min": min(accuracies),
            "max": max(accuracies),
        },
        "config": settings(first),
        "runs": [one(record) for record in records],
    }


def settings(record: RunRecord) -> dict[str, Any]:
    """The configuration, recipe and features, as the run recorded them."""
    config = record.config
    return {
        "target_epsilon": config.target_epsilon,
        "target_delta": config.target_delta,
        "cell": str(config.cell),
        "dataset_size": config.dataset_size,
        "batch_size": config.batch_size,
        "sampling_probability": config.sampling_probability,
        "steps": config.total_steps,
        "max_grad_norm": config.max_grad_norm,
        "noise_multiplier": config.noise_multiplier,
        "preparation": list(config.preparation),
        "calibration": str(config.calibration),
        "parameters": config.n_params,
        "recipe": dict(record.recipe),
        "features": dict(record.features) or None,
    }


def one(record: RunRecord) -> dict[str, Any]:
    """One seed: accuracy, epsilon of its ledger, and the ledger in a few numbers."""
    sigmas = tuple(row.reported_sigma for row in record.ledger)
    known = tuple(sigma for sigma in sigmas if sigma is not None)
    whole = record.completed and len(known) == len(sigmas)
    bracket = epsilon_bracket(EventTrace.of_run(record.config, known), record.config.target_delta) if whole else None
    rows = [row.rows_sampled for row in record.ledger]
    return {
        "seed": record.seed,
        "completed": record.completed,
        "accuracy": record.accuracy,
        "form": str(record.form),
        "epsilon": None if bracket is None else [bracket.lower, bracket.upper],
        "epsilon_method": None if bracket is None else bracket.upper_method,
        "sigma": [min(known), max(known)] if known else None,
        "rows_sampled": {"min": min(rows), "mean": round(statistics.fmean(rows), 1), "max": max(rows)}
        if rows
        else None,
        "rows_nonfinite": sum(row.rows_nonfinite for row in record.ledger),
        "wall_seconds": round(record.seconds, 1),
        "versions": dict(record.versions),
    }


def main() -> None:
    """Read every directory, group, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directories", nargs="+", metavar="RUN_DIRECTORY")
    records = [harness.read_run(directory) for directory in parser.parse_args().directories]
    groups: dict[tuple[str, str], list[RunRecord]] = {}
    for record in records:
        told = repr((record.config, dict(record.recipe), dict(record.features)))
        groups.setdefault((record.source_sha256 + record.class_name, told), []).append(record)
    finished = [group for group in groups.values() if any(record.accuracy is not None for record in group)]
    json.dump([summary(group) for group in finished], sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
