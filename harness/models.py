"""The networks by name, and the benchmark's two and one for the embedded digits. None mixes examples, so none has batch
norm; :mod:`harness.independence` proves that on the network that is about to train.

Source of the benchmark's two: the layer lists that the public benchmark ``optimization-dp-sgd`` fixes, written anew.
"""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from dpaudit.contract import UsageError

from .efficientnet import efficientnet_b0
from .network_layers import SeededDropout
from .residual_networks import ResNet20, WideResNet16
from .tanh_networks import TanhCIFAR10Net, TanhMNISTNet


class ReLUMaxPool(nn.Module):
    """ReLU, then a 2x2 maximum with stride 1.

    The maximum runs channels last: the same numbers, ten times as fast on a CPU. It comes first, which leaves the ReLU fewer
    numbers and both results and gradients the same.
    """

    def forward(self, images: Tensor) -> Tensor:
        """``[B, channels, height - 1, width - 1]``, laid out as the images are."""
        channels_last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        largest = functional.relu(functional.max_pool2d(channels_last, 2, stride=1))
        return largest.contiguous() if images.is_contiguous() else largest


class MNISTNet(nn.Module):
    """Two convolutions and two linear layers for ``[B, 1, 28, 28]``; 26,010 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=8, stride=2, padding=3),
            ReLUMaxPool(),
            nn.Conv2d(16, 32, kernel_size=4, stride=2),
            ReLUMaxPool(),
            nn.Flatten(),
            nn.Linear(512, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 10]``."""
        return torch.as_tensor(self.layers(images))


class CIFAR10Net(nn.Module):
    """Four blocks of convolution, group norm and ReLU for ``[B, 3, 32, 32]``; 132,042 parameters."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        widths = (3, 32, 64, 64, 128)
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            blocks += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.GroupNorm(8, after), nn.ReLU()]
            if index < 3:
                blocks.append(nn.AvgPool2d(2))
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(widths[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 10]``. The global pool is a plain mean: adaptive pooling has no deterministic backward on CUDA."""
        return torch.as_tensor(self.classifier(self.blocks(images).mean(dim=(2, 3))))


class DigitsNet(nn.Module):
    """One convolution and two linear layers for ``[B, 1, 8, 8]``; 4,976 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(256, 18),
            nn.ReLU(),
            nn.Linear(18, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 10]``."""
        return torch.as_tensor(self.layers(images))


def _linear(inputs: int) -> nn.Linear:
    """A linear classifier that starts at 0: its first gradients then favour no class."""
    layer = nn.Linear(inputs, 10)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MNISTNet": MNISTNet,
    "CIFAR10Net": CIFAR10Net,
    "DigitsNet": DigitsNet,
    "TanhMNISTNet": TanhMNISTNet,
    "TanhCIFAR10Net": TanhCIFAR10Net,
    "ResNet20": ResNet20,
    "ResNet20-groupnorm": partial(ResNet20, standardised=False),
    "ResNet20-plain": partial(ResNet20, groups=0, standardised=False),
    "WRN-16-4": WideResNet16,
    "EfficientNet-B0": efficientnet_b0,
    "EfficientNet-B0-frozen": partial(efficientnet_b0, frozen_batch_norm=True),
    "ScatterLinear-8x1": partial(_linear, 81 * 4),
    "ScatterLinear-28x1": partial(_linear, 81 * 49),
    "ScatterLinear-32x3": partial(_linear, 3 * 81 * 64),
}


def build_model(name: str, *, seed: int, dropout: float | None = None) -> nn.Module:
    """The named network with its default initialisation drawn from ``seed``; the global generators are untouched.

    Args:
        dropout: probability of every dropout layer; ``None`` keeps the network's own.

    Raises:
        UsageError: no such network, or dropout for a network without it.
    """
    if name not in MODELS:
        raise UsageError(f"model: expected one of {', '.join(MODELS)}, got {name!r}")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MODELS[name]()
    layers = [module for module in model.modules() if isinstance(module, SeededDropout)]
    if dropout and not layers:
        raise UsageError(f"model: {name} has no dropout layer, got dropout {dropout!r}; leave it out")
    if dropout is not None:
        for layer in layers:
            layer.probability = dropout
    return model


def parameter_shapes(name: str) -> tuple[tuple[int, ...], ...]:
    """Shapes of the trained parameters in the order in which the mechanism gets them, without drawing any weights.

    Raises:
        UsageError: no such network.
    """
    if name not in MODELS:
        raise UsageError(f"model: expected one of {', '.join(MODELS)}, got {name!r}")
    with torch.device("meta"):
        model = MODELS[name]()
    return tuple(tuple(parameter.shape) for parameter in model.parameters())
