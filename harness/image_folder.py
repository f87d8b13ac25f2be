"""A folder of images ``{train,test}/<class>/*.jpg``: decoded once, then kept as an array of bytes.

Class numbers follow the alphabetical order of the class names, which for CIFAR-10 is its published order.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError

from .array_files import read_archive

_SHAPE = (3, 32, 32)
_CLASSES = 10


def find_image_folder(root: Path) -> Path | None:
    """The first of ``root`` and ``root/cifar10-jpeg`` that has folders ``train`` and ``test``."""
    for folder in (root, root / "cifar10-jpeg"):
        if (folder / "train").is_dir() and (folder / "test").is_dir():
            return folder
    return None


def read_image_folder(folder: Path, part: str, *, per_class: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 ``[n, 3, 32, 32]`` and labels int64 ``[n]`` of ``folder/part``, classes and files in sorted order.

    The decoded array is cached in ``folder/.decoded``, under a key of every file's name, size and time of change.

    Raises:
        DataError: not ten classes of ``per_class`` images, or an image that cannot be decoded.
    """
    classes = sorted(entry for entry in (folder / part).iterdir() if entry.is_dir())
    if len(classes) != _CLASSES:
        raise DataError(f"data set: expected {_CLASSES} class folders in {folder / part}, got {len(classes)}")
    files: list[os.DirEntry[str]] = []
    for directory in classes:
        images = sorted((e for e in os.scandir(directory) if e.name.endswith((".jpg", ".png"))), key=lambda e: e.name)
        if len(images) != per_class:
            raise DataError(
                f"data set: expected {per_class} images in {directory}, got {len(images)}; unpack the set again"
            )
        files += images
    labels = np.repeat(np.arange(_CLASSES, dtype=np.int64), per_class)
    key = hashlib.sha256()
    for entry in files:
        status = entry.stat()
        key.update(f"{entry.path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    cache = folder / ".decoded" / f"{part}-{key.hexdigest()[:16]}.npz"
    decoded = _read_cache(cache, len(files))
    if decoded is None:
        decoded = np.stack([_decode(Path(entry.path)) for entry in files])
        _write_cache(cache, decoded)
    return decoded, labels


def _decode(path: Path) -> NDArray[np.uint8]:
    from PIL import Image  # a dependency of torchvision; only this kind of data needs it

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"data set: expected an image in {path}, got {error}; unpack the set again") from error
    if pixels.shape != _SHAPE:
        raise DataError(f"data set: expected an image of shape {_SHAPE} in {path}, got {pixels.shape}")
    return pixels


def _read_cache(path: Path, count: int) -> NDArray[np.uint8] | None:
    """The cached array, or ``None`` if it is absent or unusable; it is only a copy, so it may be made again."""
    try:
        images = read_archive(path, ("images",), what="data set", remedy="it is decoded again")["images"]
    except DataError:
        return None
    usable = images.dtype == np.uint8 and images.shape == (count, *_SHAPE)
    return images if usable else None


def _write_cache(path: Path, images: NDArray[np.uint8]) -> None:
    """Keep the decoded images if the folder can be written; without a cache, loading is only slower."""
    temporary = None
    try:
        path.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as stream:
            temporary = Path(stream.name)
            np.savez(stream, images=images)
        temporary.replace(path)
    except OSError:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
