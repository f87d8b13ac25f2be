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

Fill = Callable[[nn.Module, Tensor, Tensor, list[Tensor]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRule:
    """``fill(layer, input, output_gradient, [weight_out(, bias_out)])`` writes rows ``[c, *shape]``; ``applies_to`` says for
    which layers of the kind that is exact. ``fill_channels_last`` does the same, faster where the input's channels are next
    to each other in memory, with the weight's rows as ``[c, O, *kernel, I]``."""

    fill: Fill
    applies_to: Callable[[nn.Module], bool]
    fill_channels_last: Fill | None = None


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
    if layer.in_channels == 1:  # one channel: both orders are the same, and this is the faster one
        _convolution_channels_last(layer, layer_input, output_gradient, out)
        return
    rows, groups = len(layer_input), layer.groups
    by_position = output_gradient.flatten(2)  # [c, O, L]
    patches = _patches(layer, layer_input.contiguous(), output_gradient)  # [c, I * K, L]
    torch.bmm(
        by_position.reshape(rows * groups, -1, by_position.shape[2]),
        patches.view(rows * groups, -1, by_position.shape[2]).transpose(1, 2),
        out=out[0].view(rows * groups, layer.out_channels // groups, -1),
    )
    if len(out) == 2:
        torch.sum(by_position, dim=2, out=out[1])


def _convolution_channels_last(
    layer: nn.Module, layer_input: Tensor, output_gradient: Tensor, out: list[Tensor]
) -> None:
    """One group only."""
    by_position = output_gradient.flatten(2)  # [c, O, L]
    patches = _patches_channels_last(cast(nn.Conv2d, layer), layer_input, output_gradient)  # [c, L, K * I]
    torch.bmm(by_position, patches, out=out[0].view(len(layer_input), len(by_position[0]), -1))
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
    _through_standardisation(cast(StandardisedConv2d, layer).weight, out[0])


def _standardised_channels_last(
    layer: nn.Module, layer_input: Tensor, output_gradient: Tensor, out: list[Tensor]
) -> None:
    _convolution_channels_last(layer, layer_input, output_gradient, out)
    _through_standardisation(cast(StandardisedConv2d, layer).weight.permute(0, 2, 3, 1), out[0])


def _through_standardisation(weight: Tensor, rows: Tensor) -> None:
    """In place: rows of gradients for the used filters ``[c, O, ...]``, entries of a filter in the order of ``weight``'s."""
    centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
    length = (centred.square().sum(dim=(1, 2, 3), keepdim=True) + STANDARDISATION_FLOOR).sqrt()
    unit, gradient = (centred / length).flatten(1), rows.flatten(2)  # [O, fan-in], [c, O, fan-in]
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


def _patches_channels_last(layer: nn.Conv2d, layer_input: Tensor, output: Tensor) -> Tensor:
    """The same as ``[c, L, K * I]``: of one row of a kernel, all columns and channels are one run of memory."""
    top, left = cast(tuple[int, int], layer.padding)
    images = layer_input.permute(0, 2, 3, 1)
    images = functional.pad(images, (0, 0, left, left, top, top)) if top or left else images.contiguous()
    row, down, right, channel = images.stride()
    windows = images.as_strided(
        (len(images), *output.shape[2:], *layer.kernel_size, images.shape[3]),
        (row, down * layer.stride[0], right * layer.stride[1], down, right, channel),
        images.storage_offset(),
    )
    return windows.reshape(len(images), output.shape[2] * output.shape[3], -1)


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
    nn.Conv2d: LayerRule(
        fill=_convolution, applies_to=_plain_convolution, fill_channels_last=_convolution_channels_last
    ),
    StandardisedConv2d: LayerRule(
        fill=_standardised_convolution, applies_to=_plain_convolution, fill_channels_last=_standardised_channels_last
    ),
    nn.GroupNorm: LayerRule(fill=_group_norm, applies_to=_affine),
}


def channels_last_rule(layer: nn.Module, layer_input: Tensor) -> Fill | None:
    """The rule for rows ``[c, O, *kernel, I]``, where the layer has one and this input has its channels last."""
    fill = LAYER_RULES[type(layer)].fill_channels_last
    if fill is None or cast(nn.Conv2d, layer).groups > 1 or layer_input.dim() != 4:
        return None
    return fill if layer_input.is_contiguous(memory_format=torch.channels_last) else None
