"""A data set as normalised scattering features, and the private mean that may be taken off them.

Normalisation looks at one image alone: groups of three neighbouring channels get mean 0 and variance 1 over their places,
so every row has a length of at most the root of the number of features. The mean over the training set is private. It is
released once, by the Gaussian mechanism, before training, and counts into epsilon (``RunConfig.preparation``).

Source of the recipe: Tramèr and Boneh 2021 (arXiv 2011.11660), section 3; the private mean derived here.
"""

import dataclasses
import functools
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .datasets import Dataset, default_data_root, load_dataset
from .progress_bar import ProgressBar
from .scattering import CHANNELS
from .scattering_cache import scattering_features
from .scattering_settings import ScatteringSettings

_BLOCK = 2_000
"""Rows converted to float32 at a time."""


@functools.lru_cache(maxsize=1)  # the seeds of one comparison share it; nothing here is changed in place
def load_scattering(
    dataset: str, settings: ScatteringSettings, *, root: Path | None, device: torch.device | str, progress: bool
) -> Dataset:
    """The named data set with float16 features ``[n, features]`` in the place of its images.

    Raises:
        UsageError, DataError: as :func:`harness.datasets.load_dataset`; or the cache cannot be written.
    """
    root = default_data_root() if root is None else root
    data = load_dataset(dataset, root=root)
    total = len(data.train_images) + len(data.test_images)
    with ProgressBar(title=f"scattering features, {data.title}", total=total, done=0, enabled=progress) as bar:
        train, test = (
            _normalised(
                scattering_features(
                    images, maximum=data.maximum, mirrored=settings.mirrored, root=root, advance=bar.advance
                ),
                colours=images.shape[1],
                floor=settings.variance_floor,
            ).to(device)
            for images in (data.train_images, data.test_images)
        )
    zero, one = torch.zeros((1, 1), device=device), torch.ones((1, 1), device=device)
    return Dataset(
        title=data.title,
        train_images=train,
        train_labels=data.train_labels.to(device),
        test_images=test,
        test_labels=data.test_labels.to(device),
        mean=zero,
        std=one,
        maximum=1.0,
    )


def centred(data: Dataset, multiplier: float, *, seed: int) -> Dataset:
    """The features minus a private mean of the training rows.

    Guarantee: one Gaussian release of the training set with noise multiplier ``multiplier``, for add_remove and zero_out
    (a row moves the sum by at most its bound), and for replace_one at twice the reach; everything else is a function of
    one row and of what was released. The divisor is the public number of rows. Rows are clipped to the root of the number
    of features, in float32.
    Assumptions: the generator behind ``seed`` is an ideal source and the seed stays secret.
    """
    rows, width = data.train_images.shape
    bound = math.sqrt(width)
    total = torch.zeros(width, device=data.train_images.device)
    for start in range(0, rows, _BLOCK):
        block = data.train_images[start : start + _BLOCK].float()
        norms = block.norm(dim=1)
        weights = (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        total += weights @ block
    noise = torch.randn(width, generator=torch.Generator().manual_seed(seed)).to(total.device)
    mean = (total + multiplier * bound * noise) / rows
    return dataclasses.replace(
        data, train_images=_minus(data.train_images, mean), test_images=_minus(data.test_images, mean)
    )


def _minus(features: Tensor, mean: Tensor) -> Tensor:
    result = torch.empty_like(features)
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        result[part] = (features[part].float() - mean).half()
    return result


def _normalised(features: Tensor, *, colours: int, floor: float) -> Tensor:
    """Group norm without parameters over groups of three channels, in place."""
    channels = colours * CHANNELS
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        maps = features[part].float().view(-1, channels, features.shape[1] // channels)
        features[part] = functional.group_norm(maps, channels // 3, eps=floor).flatten(1).half()
    return features
