"""Many models of one configuration that share their canaries and differ in coins, batches, weights and noise.

What membership inference needs: for every model the coins, and the confidence in the label of every canary and of a
population that no model trained on. One file a model, written whole, so that an interrupted collection goes on. Runs
candidate code, so it belongs into a child process.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dpaudit.contract import DataError, Form, RunConfig

from .array_files import read_archive
from .atomic_files import make_directory, write_arrays
from .canaries import CanaryPlan, CanaryRows, draw_canaries, with_canaries
from .candidate import Candidate
from .datasets import Dataset, load_dataset
from .generators import noise_generators, stream_seed
from .presets import preset
from .process_group import OneProcess
from .recipe import Engine
from .run import Run
from .run_json import config_to_json
from .run_parts import Request

Floats = NDArray[np.float64]

_POPULATION = 1_000
"""Test examples that stand for the population; fewer where the test set is smaller."""


def shadow_file(directory: Path, index: int) -> Path:
    """Where model ``index`` is kept."""
    return directory / f"model-{index:05d}.npz"


def collection_identity(candidate: Candidate, config: RunConfig, plan: CanaryPlan, seed: int) -> str:
    """What must agree for models to belong to one collection."""
    kinds = [kind.value for kind in plan.kinds]
    values = [candidate.sha256, candidate.class_name, config_to_json(config), plan.count, kinds, seed]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def train_shadows(
    candidate: Candidate,
    config: RunConfig,
    plan: CanaryPlan,
    *,
    models: int,
    seed: int,
    out: Path,
    data_root: Path | str | None = None,
) -> None:
    """Train what is missing of ``models`` models and keep each one's answers in ``out``.

    Raises:
        MechanismError: the candidate's code failed. DataError: data or folder cannot be used.
    """
    make_directory(out)
    data = load_dataset(preset(config.name).dataset, root=None if data_root is None else Path(data_root))
    identity = collection_identity(candidate, config, plan, seed)
    for index in range(models):
        path = shadow_file(out, index)
        if path.exists():
            _read(path, identity)
            continue
        own = stream_seed(seed, f"shadow model {index}")
        canaries = draw_canaries(plan, config, data.train_labels, seed=seed, coin_seed=own)
        inserted = with_canaries(data, canaries, seed=seed)
        run = Run(_request(candidate, config, seed=own))
        run.canaries, run.canary_count = CanaryRows(canaries, config), plan.count
        with noise_generators(own):
            run.begin(inserted, None, ledger=())
            while run.steps_done < config.total_steps:
                run.step()
                if run.steps_done % config.steps_per_epoch == 0:
                    run.end_epoch(seconds=0.0)
        if run.parts.average is not None:  # what is tested, and would be published
            run.parts.model.load_state_dict(run.parts.average.parameters(), strict=False)
        slots = torch.tensor([canary.slot for canary in canaries])
        margins = label_margins(run.parts.model, inserted, inserted.train_images[slots], inserted.train_labels[slots])
        population = label_margins(
            run.parts.model, data, data.test_images[:_POPULATION], data.test_labels[:_POPULATION]
        )
        write_arrays(
            path,
            identity=np.array(identity),
            member=np.array([canary.included for canary in canaries]),
            margins=margins,
            population=population,
            accuracy=np.array(run.epoch_rows[-1]["test_accuracy"]),
        )


def _request(candidate: Candidate, config: RunConfig, *, seed: int) -> Request:
    settings = preset(config.name)
    return Request(
        candidate=candidate,
        settings=settings,
        config=config,
        recipe=settings.recipe,
        engine=Engine(),
        form=Form.PLAIN,
        seed=seed,
        device=torch.device("cpu"),
        group=OneProcess(),
    )


def read_shadows(directory: Path, *, models: int, identity: str) -> dict[str, NDArray[Any]]:
    """``member [K, m]``, ``margins [K, m]``, ``population [K, z]``, ``accuracy [K]`` of a complete collection.

    Raises:
        DataError: a model is absent, damaged, or of another collection.
    """
    kept = [_read(shadow_file(directory, index), identity) for index in range(models)]
    return {name: np.stack([one[name] for one in kept]) for name in ("member", "margins", "population", "accuracy")}


def label_margins(model: nn.Module, data: Dataset, images: Tensor, labels: Tensor) -> Floats:
    """log of p/(1-p) for the probability p that the model gives to each label: exact where p rounds to 1."""
    model.eval()
    with torch.no_grad():
        logits = torch.cat([model(data.normalised(part)) for part in torch.split(images, 500)]).double()
    own = logits.gather(1, labels[:, None]).squeeze(1)
    others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return np.asarray((own - others).numpy())


def _read(path: Path, identity: str) -> dict[str, NDArray[Any]]:
    names = ("identity", "member", "margins", "population", "accuracy")
    arrays = read_archive(path, names, what="shadow models", remedy="delete it and go on")
    if str(arrays["identity"]) != identity:
        raise DataError(f"shadow models: {path} is of another mechanism, configuration or seed; give another folder")
    return arrays
