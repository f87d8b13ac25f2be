"""Does an optional form do what ``clip_and_noise`` does? Checked before a form trains.

Two fresh instances see the same batches and the same noise generators, one through ``clip_and_noise``, one through the
form in chunks of several sizes. Their released gradients must agree within float rounding over several steps, so a form
must draw its noise as ``clip_and_noise`` does, parameter after parameter. Shapes are small; everything else that the
constructor gets is the run's.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from dpaudit.contract import Form, Rows, RunConfig

from .candidate import Mechanism, MechanismError, construct
from .generators import noise_generators
from .mechanism_step import reported_sigma

_ROWS = 12
_SIDE = 3
_SCALES = (0.0, 1e-6, 0.3, 0.999, 1.001, 3.0, 1e4, 1.0, 0.7, 2.0, 1e-3, 50.0)
_SEED = 20_240_702
TOLERANCE = 1e-4
"""Of one clipping bound over the batch size, plus a millionth of the released length for the rounding of the noise."""


def require_conformance(form: Form, loaded: type, config: RunConfig, *, file: str) -> None:
    """Return if ``form`` agrees with ``clip_and_noise`` on every batch, chunking and step that is tried.

    Guarantee: agreement on these cases. It is a test and no proof; what a verdict rests on is the audit of the form itself.
    The caller's generators are as they were afterwards.

    Raises:
        MechanismError: they disagree, a weight of one row depends on another row, or the candidate raised.
    """
    small = _small(config)
    if form is Form.PLAIN:
        return
    for sizes in ((_ROWS,), (5, 4, 3), (1,) * _ROWS):
        _compare(form, loaded, small, sizes, file)
    if form is Form.WEIGHTS:
        _require_rows_apart(construct(loaded, small, file=file), small, file)


def _small(config: RunConfig) -> RunConfig:
    """The run with small parameters; where rows are constant, with as few rows as are tried."""
    shapes = tuple(tuple(min(side, _SIDE) for side in shape) for shape in config.parameter_shapes)
    small = dataclasses.replace(config, parameter_shapes=shapes)
    if config.cell.rows is Rows.CONSTANT:
        rows = min(_ROWS, config.batch_size)
        return dataclasses.replace(small, batch_size=rows, expected_batch=min(float(rows), config.expected_batch))
    return small


def _batches(config: RunConfig) -> Iterator[list[Tensor]]:
    """Rows of lengths from 0 to far above the bound; an empty batch and a single row where their number is random."""
    generator = torch.Generator().manual_seed(_SEED)
    fixed = config.cell.rows is Rows.CONSTANT
    for rows in (config.batch_size,) * 3 if fixed else (_ROWS, 0, 1, _ROWS):
        gradients = [torch.randn((rows, *shape), generator=generator) for shape in config.parameter_shapes]
        lengths = torch.stack([value.flatten(1).square().sum(1) for value in gradients]).sum(0).sqrt()
        wanted = torch.tensor([_SCALES[row % len(_SCALES)] for row in range(rows)]) * config.max_grad_norm
        factors = wanted / lengths
        yield [value * factors.view(-1, *[1] * (value.dim() - 1)) for value in gradients]


def _compare(form: Form, loaded: type, config: RunConfig, sizes: tuple[int, ...], file: str) -> None:
    plain, formed = (construct(loaded, config, file=file) for _ in range(2))
    for step, batch in enumerate(_batches(config)):
        epoch = config.epoch_of(step)
        expected = _run(lambda: plain.clip_and_noise([g.clone() for g in batch], step, epoch), step, file)  # noqa: B023
        found = _run(lambda: _in_form(form, formed, batch, sizes, config, step, epoch), step, file)  # noqa: B023
        if not _agree(expected, found, config):
            raise MechanismError(
                f"mechanism: {file}: the form {form} in chunks of {sizes} rows releases other gradients than clip_and_noise "
                f"for the same {len(batch[0])} rows and the same noise at step {step} (furthest apart by "
                f"{_distance(expected, found):.3g}); mend the form (noise is drawn by torch.randn_like, parameter after "
                "parameter, and the sum is divided by the batch size), or train in the form plain",
                file=file,
                line=None,
            )
        said = [reported_sigma(instance, step=step, epoch=epoch, file=file) for instance in (plain, formed)]
        if said[0] != said[1]:
            raise MechanismError(
                f"mechanism: {file}: after step {step} get_effective_sigma says {said[0]!r} in the form plain and "
                f"{said[1]!r} in the form {form}; report the same",
                file=file,
                line=None,
            )


def _in_form(
    form: Form, mechanism: object, batch: list[Tensor], sizes: tuple[int, ...], config: RunConfig, step: int, epoch: int
) -> list[Tensor]:
    instance: Mechanism | object = mechanism
    chunks = list(_chunks(batch, sizes))
    if form is Form.CHUNKS:
        instance.begin_step(step, epoch)  # type: ignore[union-attr]
        for chunk in chunks:
            instance.accumulate([value.clone() for value in chunk])  # type: ignore[union-attr]
        return list(instance.finalize())  # type: ignore[union-attr]
    totals = [torch.zeros(value.shape[1:]) for value in batch]
    for chunk in chunks:
        norms = torch.stack([value.flatten(1).square().sum(1) for value in chunk]).sum(0).sqrt()
        weights = instance.weights(norms)  # type: ignore[union-attr]
        totals = [total + torch.tensordot(weights, value, dims=1) for total, value in zip(totals, chunk, strict=True)]
    std = float(instance.noise_std())  # type: ignore[union-attr]
    return [(total + std * torch.randn_like(total)) / config.batch_size for total in totals]


def _chunks(batch: list[Tensor], sizes: tuple[int, ...]) -> Iterator[list[Tensor]]:
    """Consecutive chunks; one without rows for a batch without rows. Sizes beyond the batch are cut."""
    rows, start = len(batch[0]), 0
    for size in sizes:
        if start < rows or rows == 0:
            yield [value[start : min(start + size, rows)] for value in batch]
        start += size
        if rows == 0:
            return


def _run(function: Callable[[], object], step: int, file: str) -> list[Tensor]:
    """What the candidate releases, with generators that both forms find in the same state."""
    try:
        with noise_generators(_SEED + step):
            return [torch.as_tensor(value) for value in function()]  # type: ignore[attr-defined]
    except (Exception, SystemExit) as error:
        raise MechanismError.from_exception(
            error, file=file, doing=f"its forms were compared at step {step}"
        ) from error


def _agree(expected: list[Tensor], found: list[Tensor], config: RunConfig) -> bool:
    if [value.shape for value in expected] != [value.shape for value in found]:
        return False
    released = math.sqrt(sum(float(value.double().square().sum()) for value in expected))
    allowed = TOLERANCE * config.max_grad_norm / config.batch_size + 1e-6 * released
    return _distance(expected, found) <= allowed  # False for a NaN


def _distance(expected: list[Tensor], found: list[Tensor]) -> float:
    if len(expected) != len(found):
        return math.inf
    pairs = zip(expected, found, strict=True)
    return math.sqrt(
        sum(float((a.double() - b.double()).square().sum()) if a.shape == b.shape else math.inf for a, b in pairs)
    )


def _require_rows_apart(mechanism: object, config: RunConfig, file: str) -> None:
    """The weight of a row is a function of its own norm: the harness asks chunk by chunk, and a chunk is no public fact."""
    norms = torch.tensor(_SCALES) * config.max_grad_norm
    together = _run(lambda: [mechanism.weights(norms.clone())], 0, file)[0]  # type: ignore[attr-defined]
    for row in range(len(norms)):
        others = norms.flip(0) * 7.0
        others[row] = norms[row]
        alone = _run(lambda: [mechanism.weights(others)], 0, file)[0]  # type: ignore[attr-defined]  # noqa: B023
        if not torch.allclose(alone[row], together[row], rtol=1e-6, atol=0):
            raise MechanismError(
                f"mechanism: {file}: weights(norms) gives a row of norm {float(norms[row]):g} the weight "
                f"{float(together[row]):g} or {float(alone[row]):g}, depending on the norms of OTHER rows; a weight may look "
                "at its own row only",
                file=file,
                line=None,
            )
