"""The parts of a run, built from the seed or from a checkpoint."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from dpaudit.contract import DataError, Form, RunConfig, Sampler, UsageError

from .augmentation import Augmenter
from .candidate import Candidate, Mechanism, construct, load_class
from .checkpoint import Progress, unpickle_mechanism
from .conformance import require_conformance
from .datasets import Dataset
from .efficientnet import load_public_weights
from .form_choice import choose_form
from .form_parts import FormParts, StepForm
from .forms import build_form
from .generators import restore_noise_states, stream_seed
from .independence import require_independence
from .models import build_model
from .network_layers import attach_dropout_generator
from .optimisers import build_optimiser
from .per_sample import per_sample_gradients
from .physical_batch import find_physical_batch
from .preset import Preset
from .private_moments import prepared
from .process_group import ProcessGroup
from .rates import learning_rates
from .recipe import Engine, Recipe
from .samplers import BatchSampler, build_sampler
from .weight_average import WeightAverage


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is to be trained: everything that a run depends on but the data.

    Attributes:
        form: ``None`` chooses.
        group: the processes of the run.
    """

    candidate: Candidate
    settings: Preset
    config: RunConfig
    recipe: Recipe
    engine: Engine
    form: Form | None
    seed: int
    device: torch.device
    group: ProcessGroup

    def stream(self, purpose: str) -> int:
        """Seed of one generator; with several processes each has its own."""
        own = f"{purpose}/{self.group.rank}" if self.group.size > 1 else purpose
        return stream_seed(self.seed, own)


@dataclass(slots=True, kw_only=True)
class Parts:
    """What a run consists of; ``average`` is ``None`` without averaging, ``dropout`` is always there."""

    data: Dataset
    model: nn.Module
    optimiser: torch.optim.Optimizer
    rates: tuple[float, ...]
    average: WeightAverage | None
    sampler: BatchSampler
    augmenter: Augmenter
    dropout: torch.Generator
    mechanism: Mechanism
    form: Form
    stepper: StepForm
    physical_batch: int

    def own_state(self) -> dict[str, Any]:
        """What each process has for itself."""
        return {
            "sampler": self.sampler.state(),
            "augmentation": self.augmenter.state(),
            "dropout": self.dropout.get_state(),
        }


def build_parts(request: Request, data: Dataset, saved: Progress | None) -> Parts:
    """Build, check and, from a checkpoint, restore every part. The global generators are already seeded.

    The network is shown to treat examples apart, and the form to agree with ``clip_and_noise``, before anything trains.

    Raises:
        MechanismError: the candidate's definitions, constructor or form failed.
        UsageError: the network mixes examples; the checkpoint's mechanism cannot be restored; the recipe changes images of
            which there are only features.
    """
    config, recipe, engine = request.config, request.recipe, request.engine
    _require_distributable(request)
    _require_images(request)
    data = _prepared(request, data)
    model = _model(request, data)
    loaded = load_class(request.candidate)
    file = request.candidate.path
    form = choose_form(request.form, loaded, config, file=file)
    require_conformance(form, loaded, config, file=file)
    mechanism = construct(loaded, config, file=file) if saved is None else unpickle_mechanism(saved, loaded)
    physical = saved.physical_batch if saved is not None else _physical_batch(request, model, data)
    dropout = torch.Generator(request.device).manual_seed(request.stream("dropout"))
    attach_dropout_generator(model, dropout)
    gradients = per_sample_gradients(model, chunk=physical, engine=engine)
    noise_std = config.noise_multiplier * config.max_grad_norm / config.batch_size
    parts = Parts(
        data=data,
        model=model,
        optimiser=build_optimiser(recipe, model, noise_std=noise_std),
        rates=learning_rates(recipe, config),
        average=WeightAverage(model, decay=recipe.average_decay) if recipe.average_decay else None,
        sampler=build_sampler(config, seed=request.stream("sampling"), group=request.group),
        augmenter=Augmenter(recipe, seed=request.stream("augmentation")),
        dropout=dropout,
        mechanism=mechanism,
        form=form,
        stepper=build_form(
            form,
            FormParts(
                mechanism=mechanism, model=model, gradients=gradients, config=config, file=file, group=request.group
            ),
        ),
        physical_batch=physical,
    )
    if saved is not None:
        _restore(parts, saved, request.group.rank)
    return parts


def _prepared(request: Request, data: Dataset) -> Dataset:
    """The data after the releases of ``config.preparation``, the same in every process and after a resume."""
    features = request.settings.features
    return data if features is None else prepared(data, features, seed=request.seed)


def _model(request: Request, data: Dataset) -> nn.Module:
    recipe, shape = request.recipe, tuple(data.train_images.shape[1:])
    seed = stream_seed(request.seed, "initialisation")  # the same in every process
    model = build_model(request.settings.model, seed=seed, dropout=recipe.dropout)
    if recipe.public_weights:
        if request.settings.model != "EfficientNet-B0-frozen":
            raise UsageError(f"model: {request.settings.model} has no public weights; EfficientNet-B0-frozen has")
        load_public_weights(model)
    require_independence(model, shape, engine=request.engine)
    layout = torch.channels_last if request.engine.channels_last else torch.contiguous_format
    return model.to(device=request.device, memory_format=layout)  # type: ignore[call-overload, no-any-return]


def _physical_batch(request: Request, model: nn.Module, data: Dataset) -> int:
    if request.engine.physical_batch is not None:
        return max(request.engine.physical_batch, request.recipe.views)
    shape = tuple(data.train_images.shape[1:])
    found = find_physical_batch(model, shape, device=request.device, views=request.recipe.views)
    return int(min(cast(list[int], request.group.gather(found))))


def _require_distributable(request: Request) -> None:
    if request.group.size > 1 and request.config.cell.sampler is not Sampler.POISSON:
        raise UsageError(
            f"distributed: shards of {request.config.cell.sampler} batches do not make up one such batch; sample by poisson, "
            "where every process draws from its shard at the same rate"
        )


def _require_images(request: Request) -> None:
    asked = [str(kind) for kind in request.recipe.augmentations]
    asked += ["channels_last"] if request.engine.channels_last else []
    if request.settings.features is not None and asked:
        raise UsageError(
            f"recipe: preset {request.settings.name!r} trains on features, which have no {' or '.join(asked)}; leave it out"
        )


def _restore(parts: Parts, saved: Progress, rank: int) -> None:
    parts.model.load_state_dict(saved.parameters)
    parts.optimiser.load_state_dict(saved.optimiser)
    if parts.average is not None:
        if saved.average is None:
            raise DataError("resume: the checkpoint has no weight average; start the run again")
        parts.average.restore(saved.average)
    own = saved.processes[rank]
    parts.sampler.restore(own["sampler"])
    parts.augmenter.restore(own["augmentation"])
    parts.dropout.set_state(own["dropout"])
    restore_noise_states(saved.noise)  # last: nothing after this may draw from the global generators
