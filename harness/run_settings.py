"""From a preset to the RunConfig that a claim declares: cell, expected batch, steps, calibrated sigma."""

import dataclasses
import functools
from typing import TypeVar

from dpaudit.accounting import benchmark_calibrate, calibrate_noise_multiplier
from dpaudit.accounting.expected_batch import rounded_expected_batch
from dpaudit.contract import Calibration, Cell, NonFinite, Relation, Rows, RunConfig, Sampler, UsageError

from .models import parameter_shapes
from .preset import Preset
from .presets import preset

Word = TypeVar("Word", Relation, Rows, Sampler, NonFinite, Calibration)


def run_config(
    chosen: Preset | str,
    *,
    noise_multiplier: float | None = None,
    calibration: Calibration | str | None = None,
    relation: Relation | str | None = None,
    rows: Rows | str | None = None,
    sampler: Sampler | str | None = None,
    nonfinite: NonFinite | str | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    max_grad_norm: float | None = None,
    hold_out: int = 0,
) -> RunConfig:
    """The public facts of a run of ``chosen``, with everything that is not overridden taken from the preset.

    A sampler given without rows brings the rows that it is accounted with: sampled for ``poisson``, constant for the
    others. Constant rows given without a sampler turn ``poisson`` into ``truncated_poisson``. Without a
    ``noise_multiplier``, sigma is calibrated for exactly this cell, rounded up. ``hold_out`` examples of the training set are
    kept for validation and are no part of the data set that the claim is about.

    Raises:
        UsageError: an unknown word, a number out of range, or a cell that no accounting covers.
    """
    settings = _overridden(preset(chosen) if isinstance(chosen, str) else chosen, batch_size, max_grad_norm, hold_out)
    cell = _cell(
        settings.cell,
        sampler=_word(Sampler, "sampler", sampler),
        relation=_word(Relation, "relation", relation),
        rows=_word(Rows, "rows", rows),
        nonfinite=_word(NonFinite, "nonfinite", nonfinite),
    )
    accountant = _word(Calibration, "calibration", calibration) or settings.calibration
    run_epochs = settings.epochs if epochs is None else epochs
    if run_epochs < 1:
        raise UsageError(f"run configuration: epochs must be at least 1, got {epochs!r}")
    steps_per_epoch = settings.dataset_size // settings.batch_size
    expected = float(settings.batch_size)
    if cell.sampler is Sampler.TRUNCATED_POISSON:
        expected = rounded_expected_batch(settings.batch_size, settings.dataset_size, run_epochs * steps_per_epoch)
    if noise_multiplier is None:
        noise_multiplier = _calibrated(
            settings, cell=cell, accountant=accountant, expected=expected, epochs=run_epochs, per_epoch=steps_per_epoch
        )
    return RunConfig(
        dataset_size=settings.dataset_size,
        batch_size=settings.batch_size,
        expected_batch=expected,
        epochs=run_epochs,
        steps_per_epoch=steps_per_epoch,
        max_grad_norm=settings.max_grad_norm,
        target_epsilon=settings.target_epsilon,
        target_delta=settings.target_delta,
        noise_multiplier=noise_multiplier,
        cell=cell,
        calibration=accountant,
        parameter_shapes=parameter_shapes(settings.model),
        name=settings.name,
        preparation=_preparation(settings),
    )


def _overridden(settings: Preset, batch_size: int | None, max_grad_norm: float | None, hold_out: int) -> Preset:
    size = settings.dataset_size - hold_out
    batch = settings.batch_size if batch_size is None else batch_size
    if not (hold_out >= 0 and 1 <= batch <= size):
        raise UsageError(
            f"run configuration: expected a batch size between 1 and the {size} examples for training, got {batch!r} with "
            f"{hold_out!r} of {settings.dataset_size} held out"
        )
    bound = settings.max_grad_norm if max_grad_norm is None else max_grad_norm
    return dataclasses.replace(settings, dataset_size=size, batch_size=batch, max_grad_norm=bound)


def _cell(
    default: Cell,
    *,
    sampler: Sampler | None,
    relation: Relation | None,
    rows: Rows | None,
    nonfinite: NonFinite | None,
) -> Cell:
    if sampler is None:
        sampler = default.sampler
        if rows is Rows.CONSTANT and sampler is Sampler.POISSON:
            sampler = Sampler.TRUNCATED_POISSON
        elif rows is Rows.SAMPLED and sampler is Sampler.TRUNCATED_POISSON:
            sampler = Sampler.POISSON
    if rows is None:
        rows = Rows.SAMPLED if sampler is Sampler.POISSON else Rows.CONSTANT
    if relation is None:
        relation = default.relation
        # These samplers draw a fixed number of examples, so adding or removing one is not a question they answer.
        if relation is Relation.ADD_REMOVE and sampler in (Sampler.SHUFFLE, Sampler.FIXED_SIZE):
            relation = Relation.REPLACE_ONE if sampler is Sampler.FIXED_SIZE else Relation.ZERO_OUT
    return Cell(sampler=sampler, relation=relation, rows=rows, nonfinite=nonfinite or default.nonfinite)


def _word(words: type[Word], name: str, value: Word | str | None) -> Word | None:
    if value is None:
        return None
    try:
        return words(value)
    except ValueError:
        known = ", ".join(word.value for word in words)
        raise UsageError(f"run configuration: {name} must be one of {known}, got {value!r}") from None


def _calibrated(
    settings: Preset, *, cell: Cell, accountant: Calibration, expected: float, epochs: int, per_epoch: int
) -> float:
    return _sigma(
        accountant,
        cell,
        settings.target_epsilon,
        settings.target_delta,
        expected / settings.dataset_size,
        epochs * per_epoch,
        per_epoch,
        settings.batch_size,
        settings.dataset_size,
        _preparation(settings),
    )


def _preparation(settings: Preset) -> tuple[float, ...]:
    return () if settings.features is None else settings.features.preparation


@functools.cache
def _sigma(
    accountant: Calibration,
    cell: Cell,
    epsilon: float,
    delta: float,
    sampling_probability: float,
    steps: int,
    steps_per_epoch: int,
    batch_size: int,
    dataset_size: int,
    preparation: tuple[float, ...],
) -> float:
    """Calibration takes seconds and depends on these numbers alone, so each answer is kept."""
    if accountant is Calibration.BENCHMARK:
        return benchmark_calibrate(
            target_epsilon=epsilon, delta=delta, sampling_probability=sampling_probability, steps=steps
        )
    return calibrate_noise_multiplier(
        target_epsilon=epsilon,
        delta=delta,
        cell=cell,
        sampling_probability=sampling_probability,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size,
        dataset_size=dataset_size,
        preparation=preparation,
    ).noise_multiplier
