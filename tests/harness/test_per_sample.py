"""Per-sample gradients against an oracle: one ordinary backward pass a row."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.contract import UsageError
from harness.models import MODELS, build_model
from harness.per_sample import FunctionalGradients, LayerGradients, per_sample_gradients

INPUTS = {"MNISTNet": (1, 28, 28), "CIFAR10Net": (3, 32, 32), "DigitsNet": (1, 8, 8)}


def oracle(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = functional.cross_entropy(model(image[None]), label[None])
        rows.append(torch.autograd.grad(loss, list(model.parameters())))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def batch(shape: tuple[int, ...], rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, *shape, generator=generator), torch.randint(10, (rows,), generator=generator)


@pytest.mark.parametrize("method", [LayerGradients, FunctionalGradients])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("chunk", [3, 64])
def test_equal_to_one_backward_pass_a_row(name: str, method: type, chunk: int) -> None:
    model = build_model(name, seed=1)
    images, labels = batch(INPUTS[name], 7)
    expected = oracle(model, images, labels)
    found = method(model, chunk=chunk)(images, labels, rows=7)
    assert [value.shape for value in found] == [(7, *parameter.shape) for parameter in model.parameters()]
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=2e-4, atol=2e-5)
        assert value.is_contiguous()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 2), (4, 4)])
def test_convolutions_of_many_geometries_in_double_precision(
    stride: int, padding: int, kernel: tuple[int, int]
) -> None:
    torch.random.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, kernel, stride=stride, padding=padding), nn.Flatten(), nn.LazyLinear(10)
    ).double()
    images, labels = batch((2, 7, 6), 5)
    images = images.double()
    model(images)
    found = LayerGradients(model)(images, labels, rows=5)
    for value, reference in zip(found, oracle(model, images, labels), strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", [LayerGradients, FunctionalGradients])
def test_absent_rows_are_zero_even_where_an_earlier_batch_was_larger(method: type) -> None:
    model = build_model("DigitsNet", seed=1)
    gradients = method(model)
    images, labels = batch((1, 8, 8), 9)
    gradients(images, labels, rows=9)
    for count in (4, 0):
        found = gradients(images[:count], labels[:count], rows=8)
        assert all(value.shape[0] == 8 and not value[count:].any() for value in found)
    assert all(value.shape[0] == 0 for value in gradients(images[:0], labels[:0], rows=0))


def test_a_non_finite_row_stays_in_its_row() -> None:
    for name, shape in INPUTS.items():
        model = build_model(name, seed=1)
        images, labels = batch(shape, 6)
        clean = [value.clone() for value in per_sample_gradients(model)(images, labels, rows=6)]
        images[2] = torch.nan
        images[4] = torch.inf
        kept = [0, 1, 3, 5]
        for value, reference in zip(per_sample_gradients(model)(images, labels, rows=6), clean, strict=True):
            torch.testing.assert_close(value[kept], reference[kept], rtol=1e-5, atol=1e-6)


def test_the_models_own_gradients_and_the_grad_mode_are_left_alone() -> None:
    model = build_model("DigitsNet", seed=1)
    images, labels = batch((1, 8, 8), 3)
    with torch.no_grad():
        found = LayerGradients(model)(images, labels, rows=3)
    assert any(value.any() for value in found)
    assert all(parameter.grad is None for parameter in model.parameters())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 10)
        self.second.weight = self.first.weight

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.second(self.first(rows)))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 10)

    def forward(self, rows: Tensor) -> Tensor:
        return self.last(self.first(self.first(rows)))


def test_tied_parameters_are_summed_by_the_fallback() -> None:
    model = Tied()
    images, labels = batch((4,), 5)
    gradients = per_sample_gradients(model)
    assert isinstance(gradients, FunctionalGradients)
    for value, reference in zip(gradients(images, labels, rows=5), oracle(model, images, labels), strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)


def test_a_layer_that_runs_twice_is_refused_not_miscounted() -> None:
    with pytest.raises(UsageError, match="ran twice"):
        LayerGradients(Twice())(*batch((4,), 5), rows=5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(2, 4, 3, groups=2),
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(2, 4, 3, bias=False),
        nn.PReLU(),
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True)),
    ],
)
def test_what_has_no_rule_falls_back_and_stays_exact(layer: nn.Module) -> None:
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(10))
    images, labels = batch((2, 8, 8), 3)
    model(images)
    gradients = per_sample_gradients(model)
    assert isinstance(gradients, FunctionalGradients)
    for value, reference in zip(gradients(images, labels, rows=3), oracle(model, images, labels), strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-4, atol=1e-5)


def test_batch_norm_is_refused_with_its_name() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))
    with pytest.raises(UsageError, match="'1' is a BatchNorm1d, which mixes the rows"):
        per_sample_gradients(model)
