"""EfficientNet-B0 from torchvision with nothing left that mixes examples.

torchvision's network has batch norm, which mixes them. It becomes group norm (trained from scratch), or batch norm frozen
at the statistics that came with public weights, which is then a fixed affine map of every example by itself.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from dpaudit.contract import DataError

from .network_layers import SeededDropout


def efficientnet_b0(*, frozen_batch_norm: bool = False, dropout: float = 0.0) -> nn.Module:
    """A network for ``[B, 3, height, width]`` with ten logits.

    Stochastic depth is off, because torchvision draws it from the global generators, which belong to the mechanism. Each
    group norm has the largest number of groups up to 8 that divides its channels.
    """
    from torchvision.models import efficientnet_b0 as build
    from torchvision.ops import FrozenBatchNorm2d, StochasticDepth

    model = build(num_classes=10, stochastic_depth_prob=0.0)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                channels = child.num_features
                groups = next(count for count in (8, 4, 2, 1) if channels % count == 0)
                replacement = (
                    FrozenBatchNorm2d(channels, eps=child.eps)
                    if frozen_batch_norm
                    else nn.GroupNorm(groups, channels, eps=child.eps)
                )
                setattr(parent, name, replacement)
            elif isinstance(child, StochasticDepth):
                setattr(parent, name, _Copy())
            elif isinstance(child, nn.Dropout):
                setattr(parent, name, SeededDropout(dropout))
            elif isinstance(child, nn.SiLU):
                child.inplace = False
    return model  # type: ignore[no-any-return]


class _Copy(nn.Module):
    """In stochastic depth's place: torchvision adds the shortcut to its result in place, which must not be a norm's output."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.clone()


def load_public_weights(model: nn.Module, *, source: Path | None = None) -> None:
    """Fill a network built with ``frozen_batch_norm`` with torchvision's ImageNet weights, all but the ten-class head.

    What is trained afterwards rests on public data: every accuracy must say so.

    Args:
        source: a file with torchvision's state dict; fetched by torchvision where it is ``None``.

    Raises:
        DataError: the weights are absent and cannot be fetched, or do not fit.
    """
    try:
        weights = torch.load(source, weights_only=True) if source else _fetch()
        own = model.state_dict()
        kept = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
        missing = sorted(set(own) - set(kept) - {"classifier.1.weight", "classifier.1.bias"})
        if missing:
            raise KeyError(f"{len(missing)} entries, first {missing[0]}")
        model.load_state_dict({**own, **kept})
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            f"public weights: torchvision's EfficientNet-B0 ImageNet weights could not be loaded ({error}); put them into "
            "torch's hub folder, or train without public weights"
        ) from error


def _fetch() -> dict[str, Any]:
    from torchvision.models import EfficientNet_B0_Weights

    return dict(EfficientNet_B0_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True))
