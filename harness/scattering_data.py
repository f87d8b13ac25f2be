"""A data set as normalised scattering features.

Normalisation looks at one image alone: groups of three neighbouring channels get mean 0 and variance 1 over their places,
so every row has a length of at most the root of the number of features. What looks at the whole training set is in
:mod:`harness.private_moments` and is charged.

Source of the recipe: Tramèr and Boneh 2021 (arXiv 2011.11660), section 3.
"""

import functools
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


def _normalised(features: Tensor, *, colours: int, floor: float) -> Tensor:
    """Group norm without parameters over groups of three channels, in place."""
    channels = colours * CHANNELS
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        maps = features[part].float().view(-1, channels, features.shape[1] // channels)
        features[part] = functional.group_norm(maps, channels // 3, eps=floor).flatten(1).half()
    return features
