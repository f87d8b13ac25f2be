"""The networks are the benchmark's: exact parameter counts, and no layer that mixes the rows of a batch."""

from pathlib import Path

import pytest
import torch
from torch import nn

from dpaudit.contract import DataError, UsageError
from harness.efficientnet import load_public_weights
from harness.models import MODELS, ReLUMaxPool, build_model, parameter_shapes
from harness.network_layers import SeededDropout, StandardisedConv2d
from harness.physical_batch import find_physical_batch

INPUTS = {
    "MNISTNet": (1, 28, 28),
    "DigitsNet": (1, 8, 8),
    "TanhMNISTNet": (1, 28, 28),
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("MNISTNet", 26_010),
        ("CIFAR10Net", 132_042),
        ("DigitsNet", 4_976),
        ("TanhMNISTNet", 26_010),
        ("TanhCIFAR10Net", 550_570),
        ("ResNet20", 1_084_586),
        ("ResNet20-groupnorm", 1_084_586),
        ("ResNet20-plain", 1_081_450),
        # Zagoruyko & Komodakis give 2.75 million for WRN-16-4.
        ("WRN-16-4", 2_748_890),
        ("EfficientNet-B0", 4_020_358),
        ("ScatterLinear-28x1", 39_700),
    ],
)
def test_parameter_counts(name: str, count: int) -> None:
    model = MODELS[name]()
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert parameter_shapes(name) == tuple(tuple(parameter.shape) for parameter in model.parameters())


@pytest.mark.parametrize("name", [*INPUTS, "CIFAR10Net", "TanhCIFAR10Net", "ResNet20", "WRN-16-4", "EfficientNet-B0"])
def test_a_row_does_not_influence_another_rows_output(name: str) -> None:
    model = build_model(name, seed=1)
    images = torch.randn(4, *INPUTS.get(name, (3, 32, 32)), generator=torch.Generator().manual_seed(0))
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


def test_standardised_filters_have_mean_zero_and_unit_length() -> None:
    layer = StandardisedConv2d(3, 5, 3)
    filters = layer.standardised().detach().flatten(1)
    torch.testing.assert_close(filters.mean(1), torch.zeros(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(filters.square().sum(1), torch.ones(5), rtol=1e-3, atol=0)


def test_dropout_draws_from_its_own_generator_and_only_in_training() -> None:
    layer, images = SeededDropout(0.25), torch.ones(40, 50)
    with pytest.raises(RuntimeError, match="no generator"):
        layer(images)
    layer.generator = torch.Generator().manual_seed(1)
    before = torch.get_rng_state()
    dropped = layer(images)
    assert torch.equal(before, torch.get_rng_state())
    assert set(dropped.flatten().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs(float((dropped == 0).float().mean()) - 0.25) < 0.06
    assert torch.equal(layer.eval()(images), images)


def test_dropout_for_a_network_without_it_is_refused() -> None:
    with pytest.raises(UsageError, match="MNISTNet has no dropout layer"):
        build_model("MNISTNet", seed=1, dropout=0.5)


def test_public_weights_fill_everything_but_the_head(tmp_path: Path) -> None:
    """torchvision's own network, untrained, stands in for the file of weights."""
    from torchvision.models import efficientnet_b0

    source = efficientnet_b0().state_dict()
    torch.save(source, tmp_path / "weights.pt")
    model = build_model("EfficientNet-B0-frozen", seed=1)
    head = model.state_dict()["classifier.1.weight"].clone()
    load_public_weights(model, source=tmp_path / "weights.pt")
    loaded = model.state_dict()
    assert torch.equal(loaded["classifier.1.weight"], head)
    assert all(torch.equal(value, source[name]) for name, value in loaded.items() if "classifier" not in name)
    trained = [name for name, _ in model.named_parameters()]
    assert not any("running" in name for name in trained)
    torch.save({"features.0.0.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"public weights: .* could not be loaded"):
        load_public_weights(model, source=tmp_path / "other.pt")


def test_the_physical_batch_is_measured_and_a_power_of_two() -> None:
    device = torch.device("cpu")
    small = find_physical_batch(build_model("DigitsNet", seed=1), (1, 8, 8), device=device)
    large = find_physical_batch(build_model("WRN-16-4", seed=1), (3, 64, 64), device=device)
    medium = find_physical_batch(build_model("CIFAR10Net", seed=1), (3, 32, 32), device=device)
    assert (small, medium) == (256, 64)  # the small network's 256 rows take 12 MB, the other's 100 MB
    assert large < medium
    assert large & (large - 1) == 0
    assert find_physical_batch(build_model("DigitsNet", seed=1), (1, 8, 8), device=device, views=300) == 300


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_relu_and_maximum_are_what_the_two_layers_give_in_their_order(memory_format: torch.memory_format) -> None:
    """The same values, gradients up to the order of sums, also where a window is nowhere positive; the layout is kept."""
    images = torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    images[1] = -images[1].abs()
    images[2] = 0
    images = images.contiguous(memory_format=memory_format)
    mine, plain = images.clone().requires_grad_(), images.clone().requires_grad_()
    pooled = ReLUMaxPool()(mine)
    expected = nn.MaxPool2d(2, stride=1)(nn.ReLU()(plain))
    assert torch.equal(pooled, expected)
    assert pooled.is_contiguous(memory_format=memory_format)
    upstream = torch.randn(pooled.shape, generator=torch.Generator().manual_seed(1))
    pooled.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-6, atol=1e-7)
