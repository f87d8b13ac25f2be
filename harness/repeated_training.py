"""Many small trainings of one mechanism in the worst case for one sample, with it and without it by turns.

Notation: R runs, T steps, q the sampling probability. The data set holds a few ordinary rows (each drawn with q, like the
sample), and the network begins at weights that fit those rows, so that their gradients vanish and the sample's stands out
(Annamalai and De Cristofaro, NeurIPS 2024). Everything else is the claim's own: q, T, B, C and what the constructor gets.
Both data sets are neighbours under add_remove and zero_out, so what the scores show holds for the claim.

Several runs go in lockstep: their gradients are taken by one ``vmap`` over models. Every run has a mechanism of its own
from a module of its own, and coins and noise of its own. The mechanism gets the rows that are present, nothing else; the
scores are computed beside it from what it releases. Runs candidate code, so it belongs into a child process.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from dpaudit.contract import DataError, NonFinite, Relation, Rows, RunConfig, Sampler, UsageError

from .array_files import read_archive
from .atomic_files import make_directory, write_arrays
from .canaries import CanaryKind, CanaryPlan
from .candidate import Candidate, Mechanism, construct, load_class
from .datasets import Dataset, load_dataset
from .generators import noise_generators, stream_seed
from .mechanism_step import noised_gradients, reported_sigma
from .models import build_model
from .nonfinite import guard_nonfinite
from .presets import preset
from .shadow_training import collection_identity

OTHERS = 16
"""Ordinary rows of the data set beside the sample."""
LOCKSTEP = 32
"""Runs that go together; a multiple of 2, so that both worlds are equally often played."""
_FIT_STEPS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """What is inserted, and whether the network begins at weights that fit the other rows.

    Raises:
        UsageError: a kind without a loss.
    """

    kind: CanaryKind
    fitted_weights: bool = True

    def __post_init__(self) -> None:
        if self.kind is CanaryKind.DIRAC:
            raise UsageError("repeated trainings: expected an example as the worst-case sample, got a gradient")


def repeat_identity(candidate: Candidate, config: RunConfig, case: WorstCase, seed: int) -> str:
    """What must agree for runs to belong to one series."""
    own = stream_seed(seed, f"repeated {case.kind} {case.fitted_weights} {OTHERS} {LOCKSTEP}")
    return collection_identity(candidate, config, CanaryPlan(count=1, kinds=(case.kind,)), own)


def require_playable(config: RunConfig) -> None:
    """Refuse cells whose neighbours or sampler these trainings do not play.

    Raises:
        UsageError: another sampler than Poisson, or replace_one.
    """
    if config.cell.sampler not in (Sampler.POISSON, Sampler.TRUNCATED_POISSON):
        raise UsageError(f"repeated trainings: expected a Poisson sampler, got {config.cell.sampler}")
    if config.cell.relation is Relation.REPLACE_ONE:
        raise UsageError("repeated trainings: a sample is present or absent, which replace_one does not compare")


def train_repeatedly(
    candidate: Candidate,
    config: RunConfig,
    case: WorstCase,
    *,
    runs: int,
    seed: int,
    out: Path,
    data_root: Path | str | None = None,
) -> None:
    """Play what is missing of ``runs`` runs, in blocks, and keep each block's scores in ``out``.

    Raises:
        MechanismError: the candidate's code failed. DataError: data or folder cannot be used. UsageError: the cell.
    """
    require_playable(config)
    make_directory(out)
    settings = preset(config.name)
    data = load_dataset(settings.dataset, root=None if data_root is None else Path(data_root))
    stage = _Stage.of(data, settings.model, config, case, seed=seed)
    identity = repeat_identity(candidate, config, case, seed)
    for block in range(-(-runs // LOCKSTEP)):
        path = _block_file(out, block)
        if path.exists():
            _read(path, identity)
            continue
        own = stream_seed(seed, f"repeated block {block}")
        with noise_generators(own):
            losses, products, norms, sigmas = _play(candidate, config, stage, settings.recipe.learning_rate, seed=own)
        write_arrays(path, identity=np.array(identity), losses=losses, products=products, norms=norms, sigmas=sigmas)


def read_repeated(directory: Path, *, runs: int, identity: str) -> dict[str, NDArray[Any]]:
    """``losses [R]``, ``products [R, T]``, ``norms [R, T]``, ``sigmas [R, T]``; run r has the sample where r is even.

    Raises:
        DataError: a block is absent, damaged, or of another series.
    """
    blocks = [_read(_block_file(directory, block), identity) for block in range(-(-runs // LOCKSTEP))]
    names = ("losses", "products", "norms", "sigmas")
    return {name: np.concatenate([block[name] for block in blocks])[:runs] for name in names}


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """The data set (sample first), the network and its first weights."""

    images: Tensor
    labels: Tensor
    model: nn.Module
    weights: dict[str, Tensor]

    @classmethod
    def of(cls, data: Dataset, name: str, config: RunConfig, case: WorstCase, *, seed: int) -> "_Stage":
        generator = np.random.default_rng(stream_seed(seed, "repeated stage"))
        chosen = torch.from_numpy(generator.choice(len(data.train_images), size=OTHERS + 1, replace=False))
        images, labels = data.train_images[chosen].clone(), data.train_labels[chosen].clone()
        classes = int(data.train_labels.max()) + 1
        match case.kind:
            case CanaryKind.BLANK:
                images[0] = 0
            case CanaryKind.ADVERSARIAL:
                bits = torch.from_numpy(generator.integers(0, 2, size=tuple(images.shape[1:])))
                images[0] = (bits * int(data.maximum)).to(images.dtype)
            case CanaryKind.MISLABELLED | CanaryKind.NATURAL | CanaryKind.DIRAC:
                pass
        if case.kind is not CanaryKind.NATURAL:
            labels[0] = (int(labels[0]) + 1 + int(generator.integers(0, classes - 1))) % classes
        model = build_model(name, seed=stream_seed(seed, "initialisation"))
        normalised = data.normalised(images)
        if case.fitted_weights:
            _fit(model, normalised[1:], labels[1:])
        weights = {key: value.detach().clone() for key, value in model.named_parameters()}
        return cls(normalised, labels, model, weights)


def _fit(model: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Fit the ordinary rows without privacy: the attacker chooses the first weights, and may know these rows."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(_FIT_STEPS):
        optimiser.zero_grad()
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _play(
    candidate: Candidate, config: RunConfig, stage: _Stage, rate: float, *, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """One block: final losses of the sample, and step by step the product of the release with the sample's gradient."""
    steps = config.total_steps
    coins = torch.Generator().manual_seed(stream_seed(seed, "sampling"))
    mechanisms = [construct(load_class(candidate), config, file=candidate.path) for _ in range(LOCKSTEP)]
    weights = {key: value.expand(LOCKSTEP, *value.shape).clone() for key, value in stage.weights.items()}
    take = _gradients_of(stage.model)
    products, norms, sigmas = (np.zeros((LOCKSTEP, steps)) for _ in range(3))
    member = torch.arange(LOCKSTEP) % 2 == 0
    for step in range(steps):
        drawn = torch.rand(LOCKSTEP, len(stage.images), generator=coins, dtype=torch.float64)
        present = drawn < config.sampling_probability
        absent = present[:, 0] & ~member
        present[:, 0] &= member
        rows = take(weights, stage.images, stage.labels, present)
        for run in range(LOCKSTEP):
            own = [values[run] for values in rows]
            sample = torch.cat([values[0].flatten() for values in own])
            extra = int(absent[run]) if config.cell.relation is Relation.ZERO_OUT else 0
            batch = _batch(own, present[run], config, extra)
            released, sigma = _release(mechanisms[run], batch, candidate.path, config, step)
            length = float(sample.norm())
            clipped = min(length, config.max_grad_norm)
            flat = torch.cat([value.flatten() for value in released])
            products[run, step] = config.batch_size * float(flat @ sample) * (clipped / max(length, 1e-12))
            norms[run, step] = clipped
            sigmas[run, step] = np.nan if sigma is None else sigma * config.max_grad_norm
            for key, update in zip(weights, released, strict=True):
                weights[key][run] -= rate * update
    logits = vmap(lambda own: functional_call(stage.model, own, (stage.images[:1],)))(weights)[:, 0]
    losses = functional.cross_entropy(logits, stage.labels[:1].expand(LOCKSTEP), reduction="none")
    return losses.double().numpy(), products, norms, sigmas


def _gradients_of(model: nn.Module) -> Any:
    """Per-sample gradients ``[runs, rows, *shape]``; ordinary rows only up to the last one that some run drew."""

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(functional_call(model, weights, (image[None],)), label[None], reduction="sum")

    over_rows = vmap(grad(loss), in_dims=(None, 0, 0))
    over_runs = vmap(over_rows, in_dims=(0, 0, 0))

    def take(weights: dict[str, Tensor], images: Tensor, labels: Tensor, present: Tensor) -> list[Tensor]:
        # The sample's row is always computed, for the score; of the others each run computes the drawn ones, padded.
        others = present[:, 1:]
        most = int(others.sum(1).max())
        order = torch.argsort(others.to(torch.int8), dim=1, descending=True, stable=True)[:, :most] + 1
        chosen = torch.cat([torch.zeros(len(order), 1, dtype=torch.int64), order], dim=1)
        return list(over_runs(weights, images[chosen], labels[chosen]).values())

    return take


def _batch(own: list[Tensor], present: Tensor, config: RunConfig, extra: int) -> list[Tensor]:
    """The rows that the mechanism sees: the sample if it is drawn, the drawn others, zero rows where rows are constant."""
    others = int(present[1:].sum())
    first = 0 if bool(present[0]) else 1
    kept = [values[first : 1 + others] for values in own]
    rows = len(kept[0])
    wanted = config.batch_size if config.cell.rows is Rows.CONSTANT else rows + extra
    if wanted > rows:
        kept = [torch.cat([values, values.new_zeros(wanted - rows, *values.shape[1:])]) for values in kept]
    filled = [values[:wanted].clone() for values in kept]
    if config.cell.nonfinite is NonFinite.GUARDED:
        guard_nonfinite(filled)
    return filled


def _release(
    mechanism: Mechanism, batch: list[Tensor], file: str, config: RunConfig, step: int
) -> tuple[list[Tensor], float | None]:
    epoch = config.epoch_of(step)
    released = noised_gradients(mechanism, batch, step=step, epoch=epoch, file=file)
    return released, reported_sigma(mechanism, step=step, epoch=epoch, file=file)


def _block_file(directory: Path, block: int) -> Path:
    return directory / f"block-{block:05d}.npz"


def _read(path: Path, identity: str) -> dict[str, NDArray[Any]]:
    names = ("identity", "losses", "products", "norms", "sigmas")
    arrays = read_archive(path, names, what="repeated runs", remedy="delete it and go on")
    if str(arrays["identity"]) != identity:
        raise DataError(f"repeated runs: {path} is of another mechanism, configuration or seed; give another folder")
    return arrays
