"""``dpaudit train``, and the training runs that stand behind an audit's accuracy."""

import argparse
import hashlib
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpaudit.contract import ExitCode, Finding, Form, RunConfig, RunRecord, UsageError
from dpaudit.gate import TrainingResult
from dpaudit.gate.auditing import Train, accuracy_rows, training_failure

from .progress import Bar
from .recipe import engine_of, form_of, recipe_of
from .run_logs import log_writers

if TYPE_CHECKING:
    from harness.canaries import CanaryPlan

TRAINING_LIMIT_SECONDS = 3600.0
"""Time that one training run of an audit gets. A run past it is stopped and reported; the audit goes on."""


def run(arguments: argparse.Namespace) -> ExitCode:
    """Train one mechanism with every seed, in this process, and print where the runs are."""
    import harness
    from harness.process_group import is_first_process

    config = harness.run_config(
        arguments.preset,
        noise_multiplier=arguments.noise_multiplier,
        relation=arguments.relation,
        rows=arguments.rows,
        sampler=arguments.sampler,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        max_grad_norm=arguments.max_grad_norm,
    )
    canaries = _canaries(arguments)
    recipe, engine, form = recipe_of(arguments), engine_of(arguments), form_of(arguments)
    writers = log_writers(arguments.log)
    out = Path(arguments.out or "runs")
    records: list[RunRecord] = []
    for seed in _chosen_seeds(arguments):
        place = out / f"{Path(arguments.path.partition('::')[0]).stem}-{arguments.preset}-{seed}"
        record = harness.train(
            arguments.path,
            arguments.preset,
            seed=seed,
            out=place,
            config=config,
            device=arguments.device,
            data_root=arguments.data_root,
            resume=arguments.resume and has_checkpoint(place),
            progress=not arguments.quiet,
            form=form,
            recipe=recipe,
            engine=engine,
            canaries=canaries,
        )
        if not is_first_process():
            if not record.completed:
                raise KeyboardInterrupt
            continue
        records.append(record)
        for write in writers:
            write(place)
        shown = "not finished" if record.accuracy is None else f"{record.accuracy:.2f} %"
        inserted = f", {record.canaries} canaries" if record.canaries else ""
        print(
            f"{record.directory}: {record.dataset}{inserted}, seed {seed}, form {record.form}, {shown}, "
            f"{record.seconds:.0f} s",
            flush=True,
        )
        if not record.completed:
            raise KeyboardInterrupt  # no further seed, and the exit code of an interruption
    for line in summary_lines(records):
        print(line)
    return ExitCode.ALL_ACCEPTED


def summary_lines(records: Sequence[RunRecord]) -> list[str]:
    """For each data set: mean, and minimum, maximum, median and MAD over the seeds; final models only."""
    lines = []
    for row in accuracy_rows(records):
        values = sorted(r.accuracy for r in records if r.dataset == row.dataset and r.accuracy is not None)
        spread = "" if row.std is None else f" +- {row.std:.2f}"
        lines.append(f"{row.dataset}: {row.mean:.2f}{spread} % test accuracy of the final model, {row.runs} run(s)")
        if len(values) > 1:
            median, mad = median_and_mad(values)
            lines.append(f"  min {values[0]:.2f}, max {values[-1]:.2f}, median {median:.2f}, MAD {mad:.2f}")
        if row.best_on_test_mean is not None:
            lines.append(f"  best over epochs ON THE TEST SET, which is optimistic: {row.best_on_test_mean:.2f} %")
    if lines:
        lines.append("  settings were given, not searched for here; a search on private data is not part of epsilon")
    return lines


def median_and_mad(values: Sequence[float]) -> tuple[float, float]:
    """Median, and median of the absolute deviations from it."""
    middle = statistics.median(values)
    return middle, statistics.median(abs(value - middle) for value in values)


def _chosen_seeds(arguments: argparse.Namespace) -> tuple[int, ...]:
    import harness

    if arguments.seed_count is not None and arguments.seeds is not None:
        raise UsageError("--runs and --seeds both name seeds; give one of them")
    return _seeds(arguments.seeds) if arguments.seed_count is None else harness.seeds(arguments.seed_count)


def trainer(spec: str, config: RunConfig, arguments: argparse.Namespace, folder: Path, bar: Bar) -> Train | None:
    """What an audit calls to get accuracy and ledgers; ``None`` where no accuracy is asked for.

    The audited configuration itself is trained if its preset is for that data set; otherwise the data set's own preset,
    with its own calibrated noise, and the ledger then says nothing about the audited configuration.
    """
    import harness
    from harness.behind_barrier import UNCONFINED, without_barrier

    if arguments.accuracy == "none":
        return None
    same = harness.preset(config.name).dataset == arguments.accuracy
    preset = config.name if same else harness.DATASET_PRESETS[arguments.accuracy]
    own = config if same else harness.run_config(preset)
    form = Form(arguments.form or Form.PLAIN)

    def train() -> TrainingResult:
        records: list[RunRecord] = []
        findings: list[Finding] = []
        notes: tuple[str, ...] = ()
        for seed in harness.seeds(arguments.runs):
            bar.begin(f"training on {arguments.accuracy}, seed {seed}")
            place = folder / f"{_unique(spec, own, form)}-{preset}-{seed}"
            result = harness.train_in_subprocess(
                spec,
                preset,
                seed=seed,
                out=place,
                config=own,
                data_root=arguments.data_root,
                time_limit=TRAINING_LIMIT_SECONDS,
                resume=has_checkpoint(place),
                form=form,
            )
            if isinstance(result, RunRecord):
                records.append(result)
            elif result.kind == "no_data":
                notes = (f"No accuracy on {arguments.accuracy}: {result.message}",)
                print(f"dpaudit: {spec}: no accuracy: {result.message}", file=sys.stderr)
                break  # no seed finds the data
            else:
                findings.append(training_failure(result.file, result.line, result.message))
                break  # the next seed would fail in the same way, and takes as long
        if records and (why := without_barrier("auto")):
            notes += (UNCONFINED.format(why=why),)
        return TrainingResult(records=tuple(records), findings=tuple(findings), notes=notes)

    return train


def _canaries(arguments: argparse.Namespace) -> "CanaryPlan | None":
    from harness.canaries import CanaryPlan, kinds_from_text

    if arguments.canaries is None:
        if arguments.canary_kinds or arguments.per_coordinate:
            raise UsageError("--canary-kinds, --per-coordinate: expected --canaries M beside them")
        return None
    kinds = kinds_from_text(arguments.canary_kinds) if arguments.canary_kinds else CanaryPlan(count=1).kinds
    return CanaryPlan(count=arguments.canaries, kinds=kinds, per_coordinate=arguments.per_coordinate or 1)


def has_checkpoint(place: Path) -> bool:
    """Whether there is something to go on from; an interruption leaves later seeds, and early steps, without it."""
    return (place / "checkpoint.pt").exists() or (place / "run.json").exists()


def _unique(spec: str, config: RunConfig, form: Form) -> str:
    """A folder name for one mechanism, source and configuration, so that a repeated audit goes on from its own run only."""
    path, _, name = spec.partition("::")
    words = [*Path(os.path.relpath(path)).with_suffix("").parts[-2:], *([name] if name else [])]
    identity = hashlib.sha256(Path(path).read_bytes() + repr((config, form)).encode()).hexdigest()[:12]
    return "-".join([*words, identity])


def _seeds(text: str | None) -> tuple[int, ...]:
    try:
        seeds = tuple(int(part) for part in (text or "42,123,456").split(","))
    except ValueError:
        raise UsageError(f"--seeds: expected whole numbers separated by commas, got {text!r}") from None
    if len(set(seeds)) != len(seeds):
        print(f"--seeds: {text!r} repeats a seed; each is trained once", file=sys.stderr)
    return tuple(dict.fromkeys(seeds))
