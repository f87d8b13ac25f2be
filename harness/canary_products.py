"""What a finished run says about its canaries: products of released updates with canary gradients, and final losses.

No candidate code runs here. Everything comes from the recorded releases, the data set and the seed, in a process that is
not the one that trained.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.contract import DataError, RunRecord

from .canaries import Canary, CanaryKind, draw_canaries, read_canaries, with_canaries
from .datasets import Dataset, load_dataset
from .models import build_model
from .per_sample import per_sample_gradients
from .presets import preset
from .recording import Recording, read_recording

Floats = NDArray[np.float64]

_ROWS_AT_ONCE = 250


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class CanaryEvidence:
    """Of m canaries and T steps.

    Attributes:
        canaries: in the order of all arrays.
        products: ``[m, T]``, inner product of (released update times batch size) with the canary's clipped gradient.
        norms: ``[m, T]``, L2 norm of that gradient, at most C.
        data_canaries: ``[k]``, places of the canaries that are examples and so have a loss.
        losses: ``[k]``, cross-entropy of the final model on them.
    """

    canaries: tuple[Canary, ...]
    products: Floats
    norms: Floats
    data_canaries: NDArray[np.int64]
    losses: Floats


def canary_evidence(record: RunRecord, *, data_root: Path | str | None = None) -> CanaryEvidence:
    """Read a finished run with canaries and compute what scores are made of.

    Gradients of canaries are taken at the stored parameters, which are at most ``stride`` steps old; that costs the scores
    a little sharpness and nothing else.

    Raises:
        DataError: the run is not finished, its recording is incomplete, or its coins are not those of its seed.
    """
    directory, config = Path(record.directory), record.config
    if not record.completed:
        raise DataError(f"canaries: expected a finished run in {directory}, got {len(record.ledger)} steps; resume it")
    plan, canaries = read_canaries(directory)
    settings = preset(config.name)
    data = load_dataset(settings.dataset, root=None if data_root is None else Path(data_root))
    if canaries != draw_canaries(plan, config, data.train_labels, seed=record.seed):
        raise DataError(f"canaries: {directory / 'canaries.json'} is not what seed {record.seed} draws; train again")
    data = with_canaries(data, canaries, seed=record.seed)
    recording = read_recording(directory, config)
    model = build_model(settings.model, seed=0)
    examples = np.array([place for place, one in enumerate(canaries) if one.kind is not CanaryKind.DIRAC], dtype=int)
    products, norms = np.zeros((len(canaries), config.total_steps)), np.zeros((len(canaries), config.total_steps))
    _dirac(canaries, recording, config.max_grad_norm, config.batch_size, products, norms)
    images, labels = _examples(data, canaries, examples)
    if len(examples):
        for window in range(len(recording.parameters)):
            steps = slice(window * recording.stride, (window + 1) * recording.stride)
            _load(model, recording.parameters[window])
            _window(
                model,
                images,
                labels,
                examples,
                recording.updates[steps] * config.batch_size,
                config.max_grad_norm,
                products[:, steps],
                norms[:, steps],
            )
    _load(model, recording.final)
    return CanaryEvidence(
        canaries=canaries,
        products=products,
        norms=norms,
        data_canaries=examples,
        losses=_losses(model, images, labels),
    )


def _dirac(
    canaries: tuple[Canary, ...], recording: Recording, bound: float, batch: int, products: Floats, norms: Floats
) -> None:
    for place, canary in enumerate(canaries):
        if canary.kind is CanaryKind.DIRAC:
            entries = recording.updates[:, canary.coordinate].astype(np.float64)
            products[place] = canary.sign * bound * batch * entries
            norms[place] = bound


def _examples(data: Dataset, canaries: tuple[Canary, ...], examples: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    slots = torch.tensor([canaries[place].slot for place in examples], dtype=torch.int64)
    return data.normalised(data.train_images[slots]), data.train_labels[slots]


def _load(model: nn.Module, flat: NDArray[np.float32]) -> None:
    torch.nn.utils.vector_to_parameters(torch.from_numpy(flat.copy()), model.parameters())


def _window(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    examples: NDArray[np.int64],
    updates: NDArray[np.float32],
    bound: float,
    products: Floats,
    norms: Floats,
) -> None:
    """Fill in the columns of one window, some rows at a time so that memory stays bounded."""
    gradients = per_sample_gradients(model)
    released = torch.from_numpy(np.ascontiguousarray(updates.T))
    for start in range(0, len(images), _ROWS_AT_ONCE):
        part = slice(start, min(start + _ROWS_AT_ONCE, len(images)))
        rows = gradients(images[part], labels[part], rows=len(images[part]))
        flat = torch.cat([values.flatten(1) for values in rows], dim=1)
        lengths = flat.norm(dim=1)
        factor = (bound / lengths.clamp(min=1e-12)).clamp(max=1.0)
        found = (flat @ released) * factor[:, None]
        products[examples[part]] = found.double().numpy()
        norms[examples[part]] = (lengths * factor).double().numpy()[:, None]


def _losses(model: nn.Module, images: Tensor, labels: Tensor) -> Floats:
    if not len(images):
        return np.zeros(0)
    with torch.no_grad():
        return np.asarray(functional.cross_entropy(model(images), labels, reduction="none").double().numpy())
