"""Layers that the networks share: convolution with weight standardisation, dropout with a generator of its own."""

import torch
from torch import Tensor, nn

STANDARDISATION_FLOOR = 1e-4
"""Added to the sum of squares of a filter, so that a constant filter does not divide by zero."""


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters are centred and scaled to unit length over their fan-in before use.

    Each filter w becomes ``(w - mean(w)) / sqrt(sum((w - mean(w))^2) + 1e-4)``. It looks at parameters only, so it mixes
    no examples. Source: Qiao et al. 2019 (arXiv 1903.10520); the scale by fan-in as in Brock et al. 2021 (2101.08692).
    """

    def standardised(self) -> Tensor:
        """The filters as they are used, ``[O, I / groups, *kernel]``."""
        centred = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        length = (centred.square().sum(dim=(1, 2, 3), keepdim=True) + STANDARDISATION_FLOOR).sqrt()
        return torch.div(centred, length)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, O, height, width]``."""
        return self._conv_forward(images, self.standardised(), self.bias)  # type: ignore[no-any-return]


class SeededDropout(nn.Module):
    """Dropout whose masks come from ``generator`` instead of the global generators, which belong to the mechanism.

    Every entry of every row is dropped independently. Without a generator, in evaluation, or at probability 0 it is the
    identity; training with a positive probability and no generator is an error.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability
        self.generator: torch.Generator | None = None

    def forward(self, images: Tensor) -> Tensor:
        """The same shape, scaled by ``1 / (1 - probability)`` where kept."""
        if not self.training or self.probability == 0:
            return images
        if self.generator is None:
            raise RuntimeError("dropout: no generator; call attach_dropout_generator first")
        kept = torch.rand(images.shape, generator=self.generator, device=images.device) >= self.probability
        return images * kept / (1 - self.probability)


def attach_dropout_generator(model: nn.Module, generator: torch.Generator) -> bool:
    """Give every dropout of ``model`` one generator; whether it has any that drops."""
    layers = [module for module in model.modules() if isinstance(module, SeededDropout)]
    for layer in layers:
        layer.generator = generator
    return any(layer.probability > 0 for layer in layers)


class MeanPool(nn.Module):
    """The mean over all positions; adaptive pooling has no deterministic backward pass on CUDA."""

    def forward(self, images: Tensor) -> Tensor:
        """``[B, channels]``."""
        return images.mean(dim=(2, 3))


class SiLUNorm(nn.Sequential):
    """Group norm, then SiLU."""

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__(nn.GroupNorm(groups, channels), nn.SiLU())
