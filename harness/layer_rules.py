"""How each kind of layer turns its input and the gradient of its output into per-sample parameter gradients.

Notation: c rows, O output and I input channels, G groups, K entries of a kernel, L positions of the output.
Derived here from y = W x + b for one row; a convolution is the same product over unfolded patches.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network_layers import STANDARDISATION_FLOOR, StandardisedConv2d


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRule:
    """``fill(layer, input, output_gradient, [weight_out(, bias_out)])`` writes rows ``[c, *shape]``; ``applies_to`` says for
    which layers of the kind that is exact."""

    fill: Callable[[nn.Module, Tensor, Tensor, list[Tensor]], None]
    applies_to: Callable[[nn.Module], bool]


def _linear(_layer: nn.Module, layer_input: Tensor, output_gradient: Tensor, out: list[Tensor]) -> None:
    if layer_input.dim() == 2:
        torch.mul(output_gradient[:, :, None], layer_input[:, None, :], out=out[0])
    else:  # several positions a row: their products are summed
        layer_input, output_gradient = layer_input.flatten(1, -2), output_gradient.flatten(1, -2)
        torch.bmm(output_gradient.transpose(1, 2), layer_input, out=out[0])
        output_gradient = output_gradient.sum(1)
    if len(out) == 2:
        out[1].copy_(output_gradient)


def _convolution(layer: nn.Module, layer_input: Tensor, output_gradient: Tensor, out: list[Tensor]) -> None:
    layer = cast(nn.Conv2d, layer)
    rows, groups = len(layer_input), layer.groups
    by_position = output_gradient.flatten(2)  # [c, O, L]
    patches = _patches(layer, layer_input, output_gradient)  # [c, I * K, L]
    torch.bmm(
        by_position.reshape(rows * groups, -1, by_position.shape[2]),
        patches.view(rows * groups, -1, by_position.shape[2]).transpose(1, 2),
        out=out[0].view(rows * groups, layer.out_channels // groups, -1),
    )
    if len(out) == 2:
        torch.sum(by_position, dim=2, out=out[1])


def _standardised_convolution(
    layer: nn.Module, layer_input: Tensor, output_gradient: Tensor, out: list[Tensor]
) -> None:
    """A convolution's gradient for the standardised filters, then the derivative of the standardisation.

    For one filter: c = w - mean(w), s = sqrt(sum c^2 + floor), used filter c / s. With g the gradient for the used filter,
    the gradient for c is ``g / s - c (g . c) / s^3``, and centring subtracts its mean.
    """
    _convolution(layer, layer_input, output_gradient, out)
    weight = cast(StandardisedConv2d, layer).weight
    centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    length = (centred.square().sum(dim=(1, 2, 3), keepdim=True) + STANDARDISATION_FLOOR).sqrt()
    unit, gradient = (centred / length).flatten(1), out[0].flatten(2)  # [O, fan-in], [c, O, fan-in]
    along = torch.einsum("cok,ok->co", gradient, unit)
    gradient.sub_(along[:, :, None] * unit).div_(length.flatten(1))
    gradient.sub_(gradient.mean(dim=2, keepdim=True))


def _patches(layer: nn.Conv2d, layer_input: Tensor, output: Tensor) -> Tensor:
    """The input's patches ``[c, I * K, L]`` under every position of the output.

    One strided copy, about half the time of ``torch.nn.functional.unfold`` on a CPU.
    """
    top, left = cast(tuple[int, int], layer.padding)
    if top or left:
        layer_input = functional.pad(layer_input, (left, left, top, top))
    rows, channels = layer_input.shape[:2]
    row, channel, down, right = layer_input.stride()
    windows = layer_input.as_strided(
        (rows, channels, *layer.kernel_size, *output.shape[2:]),
        (row, channel, down, right, down * layer.stride[0], right * layer.stride[1]),
        layer_input.storage_offset(),
    )
    return windows.reshape(rows, channels * math.prod(layer.kernel_size), -1)


def _group_norm(layer: nn.Module, layer_input: Tensor, output_gradient: Tensor, out: list[Tensor]) -> None:
    layer = cast(nn.GroupNorm, layer)
    normalised = functional.group_norm(layer_input, layer.num_groups, eps=layer.eps)
    torch.sum(normalised.mul_(output_gradient).flatten(2), dim=2, out=out[0])
    torch.sum(output_gradient.flatten(2), dim=2, out=out[1])


def _always(_layer: nn.Module) -> bool:
    return True


def _affine(layer: nn.Module) -> bool:
    return getattr(layer, "weight", None) is not None and getattr(layer, "bias", None) is not None


def _plain_convolution(layer: nn.Module) -> bool:
    layer = cast(nn.Conv2d, layer)
    return layer.dilation == (1, 1) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


LAYER_RULES: dict[type, LayerRule] = {
    nn.Linear: LayerRule(fill=_linear, applies_to=_always),
    nn.Conv2d: LayerRule(fill=_convolution, applies_to=_plain_convolution),
    StandardisedConv2d: LayerRule(fill=_standardised_convolution, applies_to=_plain_convolution),
    nn.GroupNorm: LayerRule(fill=_group_norm, applies_to=_affine),
}
