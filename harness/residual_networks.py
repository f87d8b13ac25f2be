"""ResNet-20 and WRN-16-4 without batch norm: group norm, weight standardisation, SiLU.

Facts on widths, groups and blocks: ``Privacy-Preserving Optimizers for Image Classification`` (2024) for ResNet-20; He et
al. 2015 (arXiv 1512.03385) for its blocks; Zagoruyko & Komodakis 2016 (1605.07146) and De et al. 2022 (2204.13650) for
WRN-16-4 and its 16 groups.
"""

from torch import Tensor, nn

from .network_layers import MeanPool, SeededDropout, SiLUNorm, StandardisedConv2d


def _conv3(before: int, after: int, *, stride: int = 1, standardised: bool = True) -> nn.Conv2d:
    kind = StandardisedConv2d if standardised else nn.Conv2d
    return kind(before, after, kernel_size=3, stride=stride, padding=1, bias=False)


def _norm(groups: int, channels: int) -> nn.Module:
    return nn.GroupNorm(groups, channels) if groups else nn.Identity()


def _activated(groups: int, channels: int) -> nn.Module:
    return SiLUNorm(groups, channels) if groups else nn.SiLU()


class BasicBlock(nn.Module):
    """Two convolutions, each followed by a norm; SiLU between them and after the sum with the shortcut.

    Args:
        groups: of every norm; 0 for a block without norms.
        standardised: whether filters are standardised.
    """

    def __init__(self, before: int, after: int, *, stride: int, groups: int, standardised: bool = True) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _conv3(before, after, stride=stride, standardised=standardised),
            _activated(groups, after),
            _conv3(after, after, standardised=standardised),
            _norm(groups, after),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            kind = StandardisedConv2d if standardised else nn.Conv2d
            projection = kind(before, after, kernel_size=1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(projection, _norm(groups, after))
        self.activation = nn.SiLU()

    def forward(self, images: Tensor) -> Tensor:
        """``[B, after, height / stride, width / stride]``."""
        return self.activation(self.residual(images) + self.shortcut(images))  # type: ignore[no-any-return]


class PreActivationBlock(nn.Module):
    """Norm and SiLU before each of two convolutions, dropout before the second; a projected shortcut where widths change."""

    def __init__(self, before: int, after: int, *, stride: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.first = SiLUNorm(min(groups, before), before)
        self.residual = nn.Sequential(
            _conv3(before, after, stride=stride),
            SiLUNorm(groups, after),
            SeededDropout(dropout),
            _conv3(after, after),
        )
        self.shortcut: nn.Module | None = None
        if stride != 1 or before != after:
            self.shortcut = StandardisedConv2d(before, after, kernel_size=1, stride=stride, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, after, height / stride, width / stride]``."""
        active = self.first(images)
        kept = images if self.shortcut is None else self.shortcut(active)
        return self.residual(active) + kept  # type: ignore[no-any-return]


class ResNet20(nn.Module):
    """Three stages of three basic blocks for ``[B, 3, height, width]``; widths 32, 64, 128, two groups a norm.

    The first two steps of the paper's ladder have no norms (``groups`` 0) and no standardised filters.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, int, int] = (32, 64, 128),
        groups: int = 2,
        standardised: bool = True,
        classes: int = 10,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = [_conv3(3, widths[0], standardised=standardised), _activated(groups, widths[0])]
        before = widths[0]
        for stage, width in enumerate(widths):
            for index in range(3):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(BasicBlock(before, width, stride=stride, groups=groups, standardised=standardised))
                before = width
        self.layers = nn.Sequential(*blocks, MeanPool(), nn.Linear(before, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]``."""
        return self.layers(images)  # type: ignore[no-any-return]


class WideResNet16(nn.Module):
    """WRN-16-4 for ``[B, 3, height, width]``: three stages of two pre-activation blocks, widths 64, 128, 256."""

    def __init__(self, *, factor: int = 4, groups: int = 16, dropout: float = 0.0, classes: int = 10) -> None:
        super().__init__()
        widths = (16, 16 * factor, 32 * factor, 64 * factor)
        blocks: list[nn.Module] = [_conv3(3, widths[0])]
        before = widths[0]
        for stage, width in enumerate(widths[1:]):
            for index in range(2):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(PreActivationBlock(before, width, stride=stride, groups=groups, dropout=dropout))
                before = width
        self.layers = nn.Sequential(*blocks, SiLUNorm(groups, before), MeanPool(), nn.Linear(before, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]``."""
        return self.layers(images)  # type: ignore[no-any-return]
