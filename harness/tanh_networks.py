"""Small convolutional networks with tanh, which suit clipped gradients better than ReLU.

Layer lists: Tramèr & Boneh 2021 (arXiv 2011.11660), end-to-end networks; tanh after Papernot et al. 2021 (2007.14191).
"""

import itertools

from torch import Tensor, nn


class TanhMNISTNet(nn.Module):
    """Two convolutions and two linear layers for ``[B, 1, 28, 28]``; 26,010 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=8, stride=2, padding=3),
            nn.Tanh(),
            nn.MaxPool2d(2, stride=1),
            nn.Conv2d(16, 32, kernel_size=4, stride=2),
            nn.Tanh(),
            nn.MaxPool2d(2, stride=1),
            nn.Flatten(),
            nn.Linear(512, 32),
            nn.Tanh(),
            nn.Linear(32, 10),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 10]``."""
        return self.layers(images)  # type: ignore[no-any-return]


class TanhCIFAR10Net(nn.Module):
    """Six convolutions in pairs and two linear layers for ``[B, 3, 32, 32]``; 550,570 parameters."""

    def __init__(self) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for before, after in itertools.pairwise((3, 32, 64, 128)):
            for channels in (before, after):
                blocks += [nn.Conv2d(channels, after, kernel_size=3, padding=1), nn.Tanh()]
            blocks.append(nn.MaxPool2d(2))
        self.layers = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.Tanh(), nn.Linear(128, 10))

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 10]``."""
        return self.layers(images)  # type: ignore[no-any-return]
