"""Flips, crops and AugMix of uint8 images, from a generator of their own.

All random numbers of a logical batch are drawn at once and before any image is touched, one tuple a view, so neither the
size of physical batches nor the images change what is drawn. Every view depends on its own image and its own numbers.
"""

import torch
from torch import Tensor
from torch.nn import functional

from .recipe import Augmentation, Recipe

_FLIP, _DOWN, _RIGHT, _SEED = range(4)
_SEEDS = 2**31


class Augmenter:
    """Draws and applies the recipe's augmentations."""

    def __init__(self, recipe: Recipe, *, seed: int) -> None:
        self._kinds = recipe.augmentations
        self._views = recipe.views
        self._generator = torch.Generator().manual_seed(seed)

    def draw(self, rows: int, *, height: int) -> Tensor | None:
        """Random numbers ``[rows, views, 4]`` of one logical batch, on the CPU; ``None`` without augmentation."""
        if not self._kinds:
            return None
        shape, margin = (rows, self._views), _margin(height)
        return torch.stack(
            [
                torch.randint(2, shape, generator=self._generator),
                torch.randint(2 * margin + 1, shape, generator=self._generator),
                torch.randint(2 * margin + 1, shape, generator=self._generator),
                torch.randint(_SEEDS, shape, generator=self._generator),
            ],
            dim=2,
        )

    def apply(self, images: Tensor, drawn: Tensor | None) -> Tensor:
        """The views of uint8 ``[c, channels, height, width]``: uint8 ``[c * views, ...]``, a row's views together."""
        if drawn is None:
            return images
        views = images.repeat_interleave(self._views, dim=0)
        numbers = drawn.flatten(0, 1)
        for kind in Augmentation:
            if kind in self._kinds:
                views = _apply_one(kind, views, numbers)
        return views

    def state(self) -> Tensor:
        """Everything that the following draws depend on."""
        return self._generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Continue exactly from a saved state."""
        self._generator.set_state(state)


def _margin(height: int) -> int:
    """Pixels that a crop may move the image: 4 of 32."""
    return max(1, height // 8)


def _apply_one(kind: Augmentation, images: Tensor, numbers: Tensor) -> Tensor:
    match kind:
        case Augmentation.FLIP:
            chosen = (numbers[:, _FLIP] == 1).to(images.device)
            return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)
        case Augmentation.CROP:
            return _crop(images, numbers.to(images.device))
        case Augmentation.AUGMIX:
            return _augmix(images, numbers[:, _SEED].tolist())


def _crop(images: Tensor, numbers: Tensor) -> Tensor:
    """A window of the image's own size out of the image with a black margin."""
    count, channels, height, width = images.shape
    margin = _margin(height)
    padded = functional.pad(images, (margin,) * 4)
    rows = numbers[:, _DOWN, None] + torch.arange(height, device=images.device)
    columns = numbers[:, _RIGHT, None] + torch.arange(width, device=images.device)
    return padded[
        torch.arange(count, device=images.device)[:, None, None, None],
        torch.arange(channels, device=images.device)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def _augmix(images: Tensor, seeds: list[int]) -> Tensor:
    """torchvision's AugMix, severity 3, width 3, depth -1, alpha 1, with the global generators as they were afterwards.

    torchvision draws from torch's global generators, which belong to the mechanism's noise: they are set aside, seeded
    for every image, and brought back.
    """
    if len(images) == 0:
        return images
    from torchvision.transforms import v2

    transform = v2.AugMix(severity=3, mixture_width=3, chain_depth=-1, alpha=1.0)
    devices = [images.device] if images.device.type == "cuda" else []
    changed = []
    with torch.random.fork_rng(devices=devices):
        for image, seed in zip(images, seeds, strict=True):
            torch.manual_seed(seed)
            changed.append(transform(image))
    return torch.stack(changed)
