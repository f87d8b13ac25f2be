"""The validator names the layer that mixes examples, and finds nothing in networks that do not."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

from dpaudit.contract import UsageError
from harness.independence import find_mixing, require_independence
from harness.models import MODELS, build_model
from harness.network_layers import SeededDropout
from harness.recipe import Engine

IMAGE = (3, 6, 6)


class Composed(nn.Module):
    """A network around one layer ``[B, 4, 6, 6]`` to the same."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 4, 3, padding=1), layer
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.middle(self.first(images)))


class Of(nn.Module):
    """A layer from a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images)


class MixedBackward(Function):
    """The identity, whose backward pass gives every row the mean of all rows' gradients."""

    @staticmethod
    def forward(context: object, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:
        return gradient.mean(0, keepdim=True).expand_as(gradient)


class Counting(nn.Module):
    """Keeps a mean of what it saw, without using it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += images.detach().mean()
        return images


def over_the_batch(images: Tensor) -> Tensor:
    return nn.functional.group_norm(images.transpose(0, 1), 1).transpose(0, 1)


def attention_over_the_batch(images: Tensor) -> Tensor:
    rows = images.flatten(1)
    return (torch.softmax(rows @ rows.T, 1) @ rows).view_as(images)


BROKEN = {
    "batch norm": (nn.BatchNorm2d(4), "middle", "mixes examples"),
    "batch norm without statistics": (nn.BatchNorm2d(4, track_running_stats=False), "middle", "mixes examples"),
    "group norm over the batch": (
        Of(over_the_batch),
        "middle",
        "mixes",
    ),
    "largest of the batch": (Of(lambda x: x - x.amax(0, keepdim=True)), "middle", "mixes examples"),
    "a vanishing share of a neighbour": (Of(lambda x: x + 1e-15 * x.roll(1, 0)), "middle", "mixes examples: with NaN"),
    "sorted over the batch": (Of(lambda x: x.sort(dim=0).values), "middle", "mixes examples"),
    "attention over the batch": (
        Of(attention_over_the_batch),
        "middle",
        "mixes",
    ),
    "inside a block": (nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU()), "middle.1", "mixes examples"),
    "divided by the number of rows": (Of(lambda x: x / x.shape[0]), "middle", "another output alone than among 4"),
    "running mean": (Counting(), "middle.seen", "carries examples from step to step"),
    "backward pass": (Of(MixedBackward.apply), "first.weight", "another gradient for row 0"),
}

HONEST = {
    "group norm": nn.GroupNorm(2, 4),
    "layer norm": nn.LayerNorm([4, 6, 6]),
    "instance norm": nn.InstanceNorm2d(4),
    "largest of an image": Of(lambda x: x - x.amax((1, 2, 3), keepdim=True)),
    "sorted within an image": Of(lambda x: x.sort(dim=3).values),
    "attention within an image": Of(lambda x: torch.softmax(x @ x.transpose(2, 3), 3) @ x),
    "max pool": nn.MaxPool2d(3, stride=1, padding=1),
    "dropout of its own generator": SeededDropout(0.5),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_layer_that_mixes_examples_is_named(name: str) -> None:
    layer, place, words = BROKEN[name]
    found = find_mixing(Composed(layer), IMAGE)
    assert found[0].layer == place
    assert words in found[0].what
    with pytest.raises(UsageError, match=r"no clipping bound holds: .*replace the layer"):
        require_independence(Composed(layer), IMAGE)


@pytest.mark.parametrize("name", HONEST)
def test_a_layer_that_treats_examples_apart_passes(name: str) -> None:
    assert find_mixing(Composed(HONEST[name]), IMAGE) == ()


@pytest.mark.parametrize("name", ["DigitsNet", "CIFAR10Net", "TanhMNISTNet", "ResNet20", "WRN-16-4", "EfficientNet-B0"])
def test_the_harness_networks_treat_examples_apart(name: str) -> None:
    shape = {"DigitsNet": (1, 8, 8), "TanhMNISTNet": (1, 28, 28)}.get(name, (3, 16, 16))
    dropout = 0.3 if name in {"WRN-16-4", "EfficientNet-B0"} else None
    model = build_model(name, seed=1, dropout=dropout)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert find_mixing(model, shape, engine=Engine(constant_shapes=name == "ResNet20")) == ()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert model.training
    assert set(MODELS) >= {name}


class Tied(nn.Module):
    """Two linear layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.last = nn.Sequential(nn.Flatten(), nn.Linear(108, 10))

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.second(self.first(images).tanh()))


def test_tied_parameters_are_summed_before_the_norm() -> None:
    assert find_mixing(Tied(), IMAGE) == ()


def test_tied_parameters_with_a_method_that_counts_them_once_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bug class itself: a method that keeps the gradient of the last layer that uses the weight."""
    from harness.per_sample import LayerGradients

    monkeypatch.setattr(LayerGradients, "supports", staticmethod(lambda _model: True))
    found = find_mixing(Tied(), IMAGE)
    assert found[0].layer == "first.weight"
    assert "another gradient" in found[0].what


def test_a_wrong_gradient_formula_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a published bug: a convolution's bias gradient averaged over positions instead of summed."""
    from harness import layer_rules

    right = layer_rules.LAYER_RULES[nn.Conv2d]

    def wrong(layer: nn.Module, layer_input: Tensor, gradient: Tensor, out: list[Tensor]) -> None:
        right.fill(layer, layer_input, gradient, out)
        out[1].div_(gradient[0, 0].numel())

    rule = layer_rules.LayerRule(fill=wrong, applies_to=right.applies_to)
    monkeypatch.setitem(layer_rules.LAYER_RULES, nn.Conv2d, rule)
    found = find_mixing(Composed(nn.ReLU()), IMAGE)
    assert found[0].layer == "first.bias"


def test_a_frozen_parameter_is_refused_by_name() -> None:
    model = Composed(nn.ReLU())
    model.first.weight.requires_grad_(False)
    assert find_mixing(model, IMAGE)[0].layer == "first.weight"
