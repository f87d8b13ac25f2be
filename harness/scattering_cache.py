"""Scattering features of a data set, computed once and kept on disk as float16.

Kept under ``<data root>/.scattering`` in blocks of images, each file whole or absent, under a key of the block's own bytes
and of every number that the features depend on. An interrupted computation goes on with the next block. A cached block
is a copy: one that cannot be read is made again. Features are a function of one image alone, so they cost no privacy; the
cache holds private data as the data folder beside it does.
"""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpaudit.contract import DataError

from .array_files import read_array
from .atomic_files import make_directory, write_atomically
from .scattering import ANGLES, CHANNELS, SCALES, Scattering, scattering_of

FOLDER = ".scattering"
_VERSION = 1
"""To be raised with every change of the numbers that the transform gives."""
_BLOCK = 5_000
_CHUNK = 8
"""Images transformed at a time: their maps should stay in a CPU's second cache."""


def scattering_features(
    images: Tensor, *, maximum: float, mirrored: bool, root: Path, advance: Callable[[int], None] | None = None
) -> Tensor:
    """float16 ``[n, colours * 81 * places]`` of uint8 images ``[n, colours, side, side]``, from the cache where it can.

    Args:
        images: on the CPU.
        maximum: the pixel value that stands for 1.
        mirrored: average the features of every image and of its mirror image.
        root: the data root, under which the cache lies.
        advance: told how many more images are done, after each block.

    Raises:
        DataError: the cache cannot be written.
    """
    folder = root / FOLDER
    make_directory(folder)
    transform = scattering_of(images.shape[-1])
    places = (images.shape[-1] // 4) ** 2
    features = torch.empty((len(images), images.shape[1] * CHANNELS * places), dtype=torch.float16)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        values = _block(block, transform, maximum=maximum, folder=folder)
        if mirrored:
            values = (values.float() + _block(block.flip(-1), transform, maximum=maximum, folder=folder).float()) / 2
        features[start : start + _BLOCK] = values
        if advance is not None:
            advance(len(block))
    return features


def _block(images: Tensor, transform: Scattering, *, maximum: float, folder: Path) -> Tensor:
    pixels = images.contiguous().numpy()
    key = hashlib.sha256(f"{_VERSION} {SCALES} {ANGLES} {maximum} {pixels.shape}\n".encode() + pixels.tobytes())
    path = folder / f"{key.hexdigest()[:32]}.npy"
    width = images.shape[1] * CHANNELS * len(transform.average) ** 2
    found = _read(path, (len(images), width))
    if found is None:
        found = _transformed(images, transform, maximum=maximum)
        stream = io.BytesIO()
        np.save(stream, found.numpy(), allow_pickle=False)
        write_atomically(path, stream.getvalue())
    return found


def _transformed(images: Tensor, transform: Scattering, *, maximum: float) -> Tensor:
    chunks = []
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        colours = chunk.flatten(0, 1).float() / maximum
        chunks.append(transform(colours).reshape(len(chunk), -1).half())
    return torch.cat(chunks)


def _read(path: Path, shape: tuple[int, int]) -> Tensor | None:
    """The cached block, or ``None`` if it is absent or is not what such a file must be."""
    try:
        values = read_array(path, what="scattering features", remedy="they are made again")
    except DataError:
        return None
    if values.shape != shape or values.dtype != np.float16 or not np.isfinite(values).all():
        return None
    return torch.from_numpy(values)
