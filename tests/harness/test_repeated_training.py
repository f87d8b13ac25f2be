"""Repeated trainings in lockstep: gradients are those of single models, the mechanism sees present rows only, blocks go on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import harness
from dpaudit.contract import DataError, Relation, RunConfig, UsageError
from harness.canaries import CanaryKind
from harness.candidate import read_candidate
from harness.models import build_model
from harness.repeated_training import (
    LOCKSTEP,
    WorstCase,
    _batch,
    _gradients_of,
    read_repeated,
    repeat_identity,
    train_repeatedly,
)

CASE = WorstCase(kind=CanaryKind.ADVERSARIAL)


def test_gradients_are_those_of_every_model_alone() -> None:
    """Slow twin: one backward pass a model and row. The sample comes first, then the drawn rows in their order."""
    models = [build_model("DigitsNet", seed=seed) for seed in range(3)]
    weights = {
        name: torch.stack([dict(model.named_parameters())[name].detach() for model in models])
        for name, _ in models[0].named_parameters()
    }
    images, labels = torch.randn(5, 1, 8, 8), torch.tensor([1, 2, 3, 4, 5])
    present = torch.tensor([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 0]], dtype=torch.bool)
    found = _gradients_of(models[0])(weights, images, labels, present)
    for run, model in enumerate(models):
        drawn = [0, *(place for place in range(1, 5) if present[run, place])]
        for row, place in enumerate(drawn):
            loss = functional.cross_entropy(model(images[place][None]), labels[place][None])
            expected = torch.autograd.grad(loss, list(model.parameters()))
            for values, value in zip(found, expected, strict=True):
                torch.testing.assert_close(values[run, row], value, rtol=1e-4, atol=1e-5)


def test_the_mechanism_gets_the_rows_that_are_present() -> None:
    own = [torch.arange(1.0, 6.0)[:, None]]  # the sample's row is 1, the drawn others are 2, 3, then padding
    sampled = harness.run_config("digits", noise_multiplier=1.3)
    constant = harness.run_config("digits", noise_multiplier=1.3, rows="constant")

    def seen(config: RunConfig, sample: bool, extra: int = 0) -> list[float]:
        present = torch.tensor([sample, True, True, False, False])
        return _batch(own, present, config, extra)[0].flatten().tolist()

    assert seen(sampled, True) == [1.0, 2.0, 3.0]
    assert seen(sampled, False) == [2.0, 3.0]
    assert seen(sampled, False, extra=1) == [2.0, 3.0, 0.0]
    assert seen(constant, True) == [1.0, 2.0, 3.0] + [0.0] * 61
    assert seen(constant, False) == [2.0, 3.0] + [0.0] * 62


def test_blocks_are_kept_and_only_those_of_the_same_series_are_taken(mechanism: Path, tmp_path: Path) -> None:
    config = harness.run_config("digits", noise_multiplier=0.05, epochs=1)
    candidate, out = read_candidate(str(mechanism)), tmp_path / "runs"
    train_repeatedly(candidate, config, CASE, runs=2 * LOCKSTEP, seed=3, out=out)
    identity = repeat_identity(candidate, config, CASE, 3)
    arrays = read_repeated(out, runs=50, identity=identity)
    assert arrays["products"].shape == (50, config.total_steps)
    assert arrays["losses"][0::2].mean() < arrays["losses"][1::2].mean()  # with the sample its loss is lower
    assert len(np.unique(arrays["losses"])) == 50
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "block-00001.npz").unlink()
    train_repeatedly(candidate, config, CASE, runs=2 * LOCKSTEP, seed=3, out=out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == kept
    with pytest.raises(DataError, match="another mechanism, configuration or seed"):
        train_repeatedly(candidate, config, CASE, runs=4, seed=4, out=out)
    with pytest.raises(DataError, match="cannot read"):
        read_repeated(out, runs=200, identity=identity)


def test_what_is_not_played_is_refused(mechanism: Path, tmp_path: Path, variant: Callable[[str, str], Path]) -> None:
    with pytest.raises(UsageError, match="expected an example"):
        WorstCase(kind=CanaryKind.DIRAC)
    for change, words in (({"sampler": "shuffle"}, "Poisson"), ({"relation": Relation.REPLACE_ONE}, "replace_one")):
        config = harness.run_config("digits", noise_multiplier=1.3, **change)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=words):
            train_repeatedly(read_candidate(str(mechanism)), config, CASE, runs=4, seed=0, out=tmp_path)
