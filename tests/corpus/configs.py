"""The runs under which corpus specimens are audited. Small, so that the whole corpus fits into minutes."""

import functools

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.accounting.expected_batch import rounded_expected_batch
from dpaudit.contract import Cell, NonFinite, Relation, Rows, RunConfig, Sampler

SHAPES = ((6, 3, 4), (6,), (4, 6, 5), (4,))
TARGET_EPSILON, TARGET_DELTA = 3.0, 1e-5

_CELLS = {
    "default": Cell(),
    "raw": Cell(nonfinite=NonFinite.RAW),
    "zero_out": Cell(relation=Relation.ZERO_OUT),
    "constant": Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT),
    "sparse": Cell(),
    "long": Cell(),
}
_SIZES = {"sparse": (400, 4, 5, 100), "long": (60_000, 256, 5, 234)}
"""Dataset size, batch size, epochs, steps an epoch. ``sparse``: one batch in 55 is empty. ``long``: MNIST's run."""
_USUAL = (3_200, 64, 8, 5)

NAMES = tuple(_CELLS)


@functools.cache
def config(name: str) -> RunConfig:
    """The run of that name, its noise calibrated to the target in its own cell."""
    cell = _CELLS[name]
    dataset_size, batch_size, epochs, steps_per_epoch = _SIZES.get(name, _USUAL)
    steps = epochs * steps_per_epoch
    expected = float(batch_size)
    if cell.sampler is Sampler.TRUNCATED_POISSON:
        expected = rounded_expected_batch(batch_size, dataset_size, steps)
    calibrated = calibrate_noise_multiplier(
        target_epsilon=TARGET_EPSILON,
        delta=TARGET_DELTA,
        cell=cell,
        sampling_probability=expected / dataset_size,
        steps=steps,
        steps_per_epoch=steps_per_epoch,
        batch_size=batch_size if cell.rows is Rows.CONSTANT else None,
        dataset_size=dataset_size if cell.rows is Rows.CONSTANT else None,
    )
    return RunConfig(
        dataset_size=dataset_size,
        batch_size=batch_size,
        expected_batch=expected,
        epochs=epochs,
        steps_per_epoch=steps_per_epoch,
        max_grad_norm=1.0,
        target_epsilon=TARGET_EPSILON,
        target_delta=TARGET_DELTA,
        noise_multiplier=calibrated.noise_multiplier,
        cell=cell,
        parameter_shapes=SHAPES,
        name=f"corpus-{name}",
    )
