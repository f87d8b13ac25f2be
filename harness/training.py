"""The training loop: sampler, per-sample gradients, guard, mechanism, optimiser, ledger.

Nothing in it observes the mechanism: it hands over the gradients, applies what comes back, and writes down what was
reported. The mechanism owns the global generators; everything else draws from its own.
"""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from dpaudit.contract import DataError, Form, RunConfig, RunRecord, UsageError

from .atomic_files import make_directory
from .canaries import CANARY_FILE, CanaryPlan
from .candidate import read_candidate
from .checkpoint import CHECKPOINT_FILE, load_checkpoint, save_checkpoint
from .datasets import Dataset, UnusableDataset, held_out, load_dataset
from .generators import noise_generators
from .models import parameter_shapes
from .preset import Preset
from .presets import preset
from .process_group import processes
from .progress_bar import ProgressBar
from .recipe import Engine, Recipe
from .recorded_run import form_with_canaries, insert_canaries, require_recordable
from .recording import Recorder
from .reported_epsilon import epsilon_so_far
from .run import Run
from .run_directory import LEDGER_FILE, METRICS_FILE, RUN_FILE, read_ledger, read_run, write_run
from .run_parts import Request
from .scattering_data import load_scattering


def train(
    spec: str,
    preset_name: str,
    *,
    seed: int,
    out: Path,
    config: RunConfig,
    device: str = "auto",
    data_root: Path | str | None = None,
    epochs: int | None = None,
    resume: bool = False,
    progress: bool = True,
    max_steps: int | None = None,
    form: Form | str | None = Form.PLAIN,
    recipe: Recipe | None = None,
    engine: Engine | None = None,
    hold_out: int = 0,
    canaries: CanaryPlan | None = None,
) -> RunRecord:
    """Train the candidate ``spec`` once and leave a run directory at ``out``.

    Args:
        spec: ``path.py`` or ``path.py::ClassName``.
        preset_name: data set, network and optimiser.
        seed: of every generator of the run.
        config: the public facts of the run, from :func:`harness.run_config` for the same preset.
        device: ``auto`` (CUDA where there is one), or a torch device.
        data_root: folder of the data sets; default ``DPAUDIT_DATA``, else ``./data``.
        epochs, max_steps: stop early after so many epochs or steps of the run; it can be resumed.
        resume: continue the run in ``out``, bit by bit as if it had not stopped.
        form: of the interface; ``None`` chooses the cheapest that the candidate offers (:mod:`harness.form_choice`).
        recipe: optimiser, schedule, averaging, augmentation; default the preset's.
        engine: precision, shapes, physical batch; default float32 and a physical batch that fits.
        hold_out: train without the last so many examples of a fixed permutation of the training set and test on them
            instead of the test set; ``config`` must have been made with the same number.
        canaries: insert these, and record what an audit of the run needs (:mod:`harness.recording`). The form is plain.

    Returns:
        The record. ``completed`` is False if the run stopped early, by these arguments or by an interrupt.

    Raises:
        MechanismError: the candidate's own code failed.
        DataError: data are absent or malformed, or ``out`` cannot be written or read.
        UsageError: the arguments contradict each other.
    """
    settings = preset(preset_name)
    _check_config(settings, config, hold_out)
    out = Path(out)
    chosen = _device(device)
    group = processes(chosen)
    asked = None if form is None else Form(form)
    request = Request(
        candidate=read_candidate(spec),
        settings=settings,
        config=config,
        recipe=recipe or settings.recipe,
        engine=engine or Engine(),
        form=asked if canaries is None else form_with_canaries(asked),
        seed=seed,
        device=chosen,
        group=group,
    )
    if canaries is not None:
        require_recordable(canaries, config, request.recipe, request.engine, processes=group.size, hold_out=hold_out)
    run = Run(request, recorder=None if canaries is None else Recorder(out, config, seed=seed))
    run.canary_count = 0 if canaries is None else canaries.count
    finished = _prepare(out, run, resume=resume)
    if finished is not None:
        return finished
    saved = load_checkpoint(out, identity=run.identity) if (out / CHECKPOINT_FILE).exists() else None
    data = _load(settings, root=None if data_root is None else Path(data_root), device=chosen, progress=progress)
    _check_data(settings, data)
    data = held_out(data, hold_out) if hold_out else data
    if canaries is not None:
        data = insert_canaries(canaries, run, data, out, steps_done=0 if saved is None else saved.steps_done)
    last = _last_step(config, epochs, max_steps)
    with noise_generators(seed), _deterministic_kernels(), _interrupts() as interrupted:
        run.begin(data, saved, ledger=read_ledger(out) if saved is not None else ())
        _loop(run, out, last=last, progress=progress and group.rank == 0, interrupted=interrupted)
    return read_run(out)


def _loop(run: Run, out: Path, *, last: int, progress: bool, interrupted: threading.Event) -> None:
    config, group = run.config, run.request.group
    started = time.monotonic() - run.seconds
    bar = ProgressBar(title=config.name, total=config.total_steps, done=run.steps_done, enabled=progress)
    stopped = False
    with bar:
        while run.steps_done < last and not stopped:
            run.step()
            bar.step()
            if run.steps_done % config.steps_per_epoch == 0:
                accuracy = run.end_epoch(seconds=time.monotonic() - started)
                if bar.visible:
                    bar.epoch(accuracy=accuracy, epsilon=epsilon_so_far(config, run.sigmas))
                if run.steps_done < last:
                    run.seconds = time.monotonic() - started
                    _save(run, out)
            (stops,) = group.total([int(interrupted.is_set())])  # all processes stop after the same step
            stopped = stops > 0
        run.seconds = time.monotonic() - started
    _save(run, out)
    if stopped and run.steps_done < config.total_steps and group.rank == 0:
        print(
            f"stopped after step {run.steps_done} of {config.total_steps}; the run is saved in {out}; "
            "the same command with --resume continues it",
            file=sys.stderr,
        )


def _save(run: Run, out: Path) -> None:
    """Ledger and record first: a checkpoint never runs ahead of the ledger that it continues. The first process writes."""
    record, snapshot = run.record(str(out)), run.snapshot()  # every process takes part
    if run.request.group.rank == 0:
        run.keep()
        write_run(out, record, epochs=run.epoch_rows)
        save_checkpoint(out, snapshot)
    run.request.group.total([0])  # nobody reads before it is written


def _load(settings: Preset, *, root: Path | None, device: torch.device, progress: bool) -> Dataset:
    if settings.features is None:
        return load_dataset(settings.dataset, root=root, device=device)
    return load_scattering(settings.dataset, settings.features, root=root, device=device, progress=progress)


def _check_config(settings: Preset, config: RunConfig, hold_out: int) -> None:
    expected = (settings.name, settings.dataset_size - hold_out, parameter_shapes(settings.model))
    got = (config.name, config.dataset_size, config.parameter_shapes)
    if got != expected:
        raise UsageError(
            f"training: expected the configuration of preset {settings.name!r} ({expected[1]} examples, the "
            f"parameters of {settings.model}), got {config.name!r} with {config.dataset_size} examples; take it from run_config"
        )


def _check_data(settings: Preset, data: Dataset) -> None:
    if len(data.train_images) != settings.dataset_size or len(data.train_labels) != settings.dataset_size:
        raise UnusableDataset(
            f"data set: preset {settings.name!r} states {settings.dataset_size} training examples, "
            f"{data.title} has {len(data.train_images)}; fetch the data again"
        )


def _prepare(out: Path, run: Run, *, resume: bool) -> RunRecord | None:
    """Make the folder; a finished run's record if it is to be resumed."""
    group = run.request.group
    try:
        finished, torn = _looked(out, run, resume=resume)
    finally:
        group.total([0])  # every process has looked before one of them writes
    if finished is None and group.rank == 0:
        for name in (RUN_FILE, LEDGER_FILE, METRICS_FILE, CANARY_FILE) if torn else ():
            (out / name).unlink(missing_ok=True)
        make_directory(out)
    return finished


def _looked(out: Path, run: Run, *, resume: bool) -> tuple[RunRecord | None, bool]:
    """A finished run's record; and whether the folder holds a record without a checkpoint.

    A run that was killed between its record and its first checkpoint left nothing to go on from: it starts again.
    """
    has_checkpoint = (out / CHECKPOINT_FILE).exists()
    record = _record_in(out, torn=has_checkpoint)
    finished = record is not None and record.completed
    if not resume and (has_checkpoint or finished):
        raise UsageError(f"training: {out} already holds a run; resume it, or give another output folder")
    if record is not None and (finished or not has_checkpoint):
        _require_same(record, run)
    if resume and record is None and not has_checkpoint:
        raise DataError(f"resume: expected a checkpoint in {out}, found none; start the run without resuming")
    return (record if finished else None), record is not None and not has_checkpoint


def _record_in(out: Path, *, torn: bool) -> RunRecord | None:
    """The record in a folder, if any. Where a checkpoint can tell, a record that is older than its ledger is none."""
    if not (out / RUN_FILE).exists():
        return None
    try:
        return read_run(out)
    except DataError:
        if torn:
            return None
        raise


def _require_same(record: RunRecord, run: Run) -> None:
    found = (record.source_sha256, record.class_name, record.config, record.seed, record.canaries, record.features)
    asked = (run.candidate.sha256, run.candidate.class_name, run.config, run.seed, run.canary_count, run.features)
    if found != asked:
        state = "finished run" if record.completed else "run"
        raise UsageError(
            f"resume: {record.directory} holds the {state} of another mechanism, seed, configuration, canaries or features"
        )


def _last_step(config: RunConfig, epochs: int | None, max_steps: int | None) -> int:
    for name, value in (("epochs", epochs), ("max_steps", max_steps)):
        if value is not None and value < 1:
            raise UsageError(f"training: {name} must be at least 1, got {value!r}")
    limits = [config.total_steps]
    if epochs is not None:
        limits.append(epochs * config.steps_per_epoch)
    if max_steps is not None:
        limits.append(max_steps)
    return min(limits)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(name)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device: {name!r} cannot be used here ({error}); use cpu or auto") from error
    return chosen


@contextmanager
def _deterministic_kernels() -> Iterator[None]:
    """Repeatable convolutions on CUDA; without them a resumed run would differ in the last bits."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """The first Ctrl-C asks for a stop after the current step; the second stops at once, leaving the last checkpoint."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_number: int, _frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
