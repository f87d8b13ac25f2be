"""Per-sample gradients against an oracle: one ordinary backward pass a row."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.contract import UsageError
from harness.gradient_chunk import squared_lengths
from harness.models import MODELS, build_model
from harness.network_layers import StandardisedConv2d
from harness.per_sample import FunctionalGradients, LayerGradients, per_sample_gradients
from harness.recipe import Engine

INPUTS = {
    "MNISTNet": (1, 28, 28),
    "CIFAR10Net": (3, 32, 32),
    "DigitsNet": (1, 8, 8),
    "TanhMNISTNet": (1, 28, 28),
    "TanhCIFAR10Net": (3, 32, 32),
    "ResNet20": (3, 8, 8),
    "ResNet20-groupnorm": (3, 8, 8),
    "ResNet20-plain": (3, 8, 8),
    "WRN-16-4": (3, 8, 8),
    "EfficientNet-B0": (3, 32, 32),
    "EfficientNet-B0-frozen": (3, 32, 32),
    "ScatterLinear-8x1": (324,),
    "ScatterLinear-28x1": (3_969,),
    "ScatterLinear-32x3": (15_552,),
}


def oracle(model: nn.Module, images: Tensor, labels: Tensor) -> list[Tensor]:
    rows = []
    for image, label in zip(images, labels, strict=True):
        loss = functional.cross_entropy(model(image[None]), label[None])
        rows.append(torch.autograd.grad(loss, list(model.parameters())))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def batch(shape: tuple[int, ...], rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, *shape, generator=generator), torch.randint(10, (rows,), generator=generator)


DEEP = {"ResNet20", "ResNet20-groupnorm", "ResNet20-plain", "WRN-16-4", "EfficientNet-B0", "EfficientNet-B0-frozen"}


@pytest.mark.parametrize("method", [LayerGradients, FunctionalGradients])
@pytest.mark.parametrize(
    ("name", "chunk"), [(name, chunk) for name in MODELS for chunk in (3, 64) if chunk == 3 or name not in DEEP]
)
def test_equal_to_one_backward_pass_a_row(name: str, chunk: int, method: type) -> None:
    model = build_model(name, seed=1).double()
    images, labels = batch(INPUTS[name], 4)
    expected = oracle(model, images.double(), labels)
    found = method(model, chunk=chunk)(images.double(), labels, rows=4)
    assert [value.shape for value in found] == [(4, *parameter.shape) for parameter in model.parameters()]
    for value, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(value, reference, rtol=1e-8, atol=1e-10)
        assert value.is_contiguous()


@pytest.mark.parametrize("method", [LayerGradients, FunctionalGradients])
@pytest.mark.parametrize("name", ["MNISTNet", "CIFAR10Net", "ResNet20"])
def test_single_precision_stays_close(name: str, method: type) -> None:
    model = build_model(name, seed=1)
    images, labels = batch(INPUTS[name], 4)
    for value, reference in zip(
        method(model, chunk=3)(images, labels, rows=4), oracle(model, images, labels), strict=True
    ):
        torch.testing.assert_close(value, reference, rtol=2e-4, atol=2e-5)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_rows_do_not_depend_on_the_layout_of_the_images(channels: int) -> None:
    """Whoever hands over channels-last images, also of one channel, gets the same rows."""
    torch.random.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(channels, 5, (3, 2), padding=1), nn.Flatten(), nn.LazyLinear(10)).double()
    images, labels = batch((channels, 7, 6), 5)
    images = images.double()
    model(images)
    turned = images.contiguous(memory_format=torch.channels_last)
    moved = images.permute(0, 2, 3, 1).contiguous().view(5, 7, 6, channels).permute(0, 3, 1, 2)
    for layout in (images, turned, moved):
        for value, reference in zip(
            LayerGradients(model)(layout, labels, rows=5), oracle(model, images, labels), strict=True
        ):
            torch.testing.assert_close(value, reference, rtol=1e-10, atol=1e-12)


LAYERS = {
    "groups": nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": nn.Conv2d(4, 4, (3, 2), stride=2, padding=1, groups=4, bias=False),
    "no bias": nn.Conv2d(4, 3, 3, bias=False),
    "stride, padding, oblong": nn.Conv2d(4, 3, (3, 2), stride=(2, 1), padding=(0, 2)),
    "standardised, oblong": StandardisedConv2d(4, 3, (2, 3), stride=2, padding=1),
    "standardised": StandardisedConv2d(4, 6, 3, padding=1),
    "standardised, groups, no bias": StandardisedConv2d(4, 6, 3, groups=2, bias=False),
    "group norm": nn.Sequential(nn.Conv2d(4, 6, 1), nn.GroupNorm(3, 6)),
    "linear at many positions": nn.Linear(6, 3),
    "linear at many positions, no bias": nn.Linear(6, 3, bias=False),
}


@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("layer", LAYERS)
def test_norms_and_weighted_sums_are_those_of_the_rows(layer: str, views: int) -> None:
    """Against one backward pass a row of the loss averaged over the row's views."""
    torch.random.manual_seed(0)
    model = nn.Sequential(LAYERS[layer], nn.Tanh(), nn.Flatten(), nn.LazyLinear(10)).double()
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(5 * views, 4, 7, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (5,), generator=generator)
    model(images)
    expected = []
    for row in range(5):
        part = images[row * views : (row + 1) * views]
        loss = functional.cross_entropy(model(part), labels[row].expand(views))
        expected.append(torch.autograd.grad(loss, list(model.parameters())))
    rows = [torch.stack(column) for column in zip(*expected, strict=True)]
    weights = torch.rand(5, generator=generator, dtype=torch.float64)
    for engine in (Engine(), Engine(constant_shapes=True)):
        for method in (LayerGradients, FunctionalGradients):
            gradients = method(model, chunk=8 * views, engine=engine)
            written = [torch.full_like(value, torch.nan) for value in rows]
            gradients.chunk(images, labels, views=views).write(written)
            torch.testing.assert_close(written, rows)
            chunk = gradients.chunk(images, labels, views=views)
            norms = torch.stack([value.flatten(1).square().sum(1) for value in rows]).sum(0)
            torch.testing.assert_close(chunk.squared_norms(), norms)
            totals = [torch.ones_like(parameter) for parameter in model.parameters()]
            chunk.add_weighted(weights, totals)
            torch.testing.assert_close(totals, [1 + torch.tensordot(weights, value, dims=1) for value in rows])


@pytest.mark.parametrize("shape", [(3,), (1_009,), (2_018,), (16, 1, 8, 8), (10, 15_552)])
@pytest.mark.parametrize("spread", [1.0, 1e-4])
def test_squared_lengths_lose_nothing(shape: tuple[int, ...], spread: float) -> None:
    """Against float64, also where many small coordinates stand behind one large one."""
    rows = spread * torch.randn(4, *shape, generator=torch.Generator().manual_seed(0))
    rows.flatten(1)[:, 0] = 1.0
    expected = rows.double().flatten(1).square().sum(1)
    torch.testing.assert_close(squared_lengths(rows).double(), expected, rtol=1e-6, atol=0)
    rows.flatten(1)[1, -1], rows.flatten(1)[2, -1] = torch.nan, torch.inf
    assert squared_lengths(rows).isfinite().tolist() == [True, False, False, True]


@pytest.mark.parametrize("method", [LayerGradients, FunctionalGradients])
@pytest.mark.parametrize("constant_shapes", [False, True])
def test_a_discarded_row_leaves_nothing_in_the_sum(method: type, constant_shapes: bool) -> None:
    model = build_model("DigitsNet", seed=1)
    images, labels = batch((1, 8, 8), 5)
    gradients = method(model, chunk=8, engine=Engine(constant_shapes=constant_shapes))
    images[3] = torch.nan
    chunk = gradients.chunk(images, labels)
    bad = ~chunk.squared_norms().isfinite()
    assert bad.tolist() == [False, False, False, True, False]
    chunk.discard(bad)
    totals = [torch.zeros_like(parameter) for parameter in model.parameters()]
    chunk.add_weighted(torch.ones(5), totals)
    kept = [0, 1, 2, 4]
    expected = [value.sum(0) for value in oracle(model, images[kept], labels[kept])]
    torch.testing.assert_close(totals, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [LayerGradients, FunctionalGradients])
def test_bfloat16_rows_are_measured_as_they_are_summed(method: type) -> None:
    """The norm is that of the float32 row that enters the sum, so that a clip holds to float32 rounding."""
    model = build_model("DigitsNet", seed=1)
    images, labels = batch((1, 8, 8), 6)
    exact = method(model, chunk=8)(images, labels, rows=6)
    exact = [value.clone() for value in exact]
    chunk = method(model, chunk=8, engine=Engine(bf16=True)).chunk(images, labels)
    norms = chunk.squared_norms().sqrt()
    for row in range(6):
        totals = [torch.zeros_like(parameter) for parameter in model.parameters()]
        chunk.add_weighted(torch.eye(6)[row], totals)
        length = torch.stack([total.square().sum() for total in totals]).sum().sqrt()
        torch.testing.assert_close(length, norms[row], rtol=1e-6, atol=0)
        assert all(total.dtype == torch.float32 for total in totals)
        for total, value in zip(totals, exact, strict=True):
            torch.testing.assert_close(total, value[row], rtol=0.1, atol=0.05)


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
    for name in ("MNISTNet", "CIFAR10Net", "DigitsNet", "TanhMNISTNet"):
        model = build_model(name, seed=1)
        images, labels = batch(INPUTS[name], 6)
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
        nn.Conv2d(2, 4, 3, dilation=2),
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect"),
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
