"""The networks are the benchmark's: exact parameter counts, and no layer that mixes the rows of a batch."""

import pytest
import torch
from torch import nn

from harness.models import MODELS, build_model, parameter_shapes

INPUTS = {"MNISTNet": (1, 28, 28), "CIFAR10Net": (3, 32, 32), "DigitsNet": (1, 8, 8)}


@pytest.mark.parametrize(("name", "count"), [("MNISTNet", 26_010), ("CIFAR10Net", 132_042), ("DigitsNet", 4_976)])
def test_parameter_counts(name: str, count: int) -> None:
    model = MODELS[name]()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert parameter_shapes(name) == tuple(tuple(parameter.shape) for parameter in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_a_row_does_not_influence_another_rows_output(name: str) -> None:
    model = build_model(name, seed=1)
    images = torch.randn(4, *INPUTS[name], generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    changed[2] = 50.0
    before, after = model(images), model(changed)
    kept = [0, 1, 3]
    torch.testing.assert_close(before[kept], after[kept], rtol=0, atol=1e-6)
    assert not torch.equal(before[2], after[2])
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())


def test_initialisation_depends_on_its_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build_model("MNISTNet", seed=1).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    again, other = build_model("MNISTNet", seed=1).state_dict(), build_model("MNISTNet", seed=2).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])
