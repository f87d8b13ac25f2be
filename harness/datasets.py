"""The data sets, held on the device as bytes and normalised as they are used.

Looked for under a root folder (``DPAUDIT_DATA``, else ``./data``): ``MNIST/raw`` and ``FashionMNIST/raw`` with the IDX
files, plain or gzipped; ``cifar-10-batches-py``, or a folder of images (see :mod:`harness.image_folder`). What is absent
is fetched by torchvision. ``digits`` ships with scikit-learn and needs neither files nor network.
"""

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpaudit.contract import DataError, UsageError

from .idx_files import find_idx, read_idx
from .image_folder import find_image_folder, read_image_folder

_DIGITS_SPLIT_SEED = 20_240_501
_HOLD_OUT_SEED = 20_240_704
_IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One data set on one device.

    Attributes:
        title: the name printed beside every accuracy.
        train_images, test_images: uint8 ``[n, channels, height, width]``, or features that are used as they are: floats
            ``[n, features]``.
        train_labels, test_labels: int64 ``[n]``.
        mean, std: of the pixel values over 255, one a channel, ``[1, channels, 1, 1]``.
        maximum: the pixel value that stands for 1.
    """

    title: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    mean: Tensor
    std: Tensor
    maximum: float = 255.0

    def normalised(self, images: Tensor) -> Tensor:
        """float32 network input from bytes; features are floats, and are normalised already."""
        if images.is_floating_point():
            return images.to(torch.float32)
        return (images.to(torch.float32) / self.maximum - self.mean) / self.std


@dataclass(frozen=True, slots=True)
class _Arrays:
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


class UnusableDataset(DataError):
    """The data set is absent or unreadable: nothing was trained, and nothing is said about any mechanism."""


def held_out(data: Dataset, count: int) -> Dataset:
    """``count`` examples moved from the training set into the place of the test set, which is then not there at all.

    The split is a fixed random permutation, the same for every seed and setting, so that settings can be compared.

    Raises:
        UsageError: nothing would be left to train on, or to validate on.
    """
    size = len(data.train_labels)
    if not 0 < count < size:
        raise UsageError(f"data set: expected to hold out between 1 and {size - 1} of {size} examples, got {count!r}")
    order = torch.from_numpy(np.random.default_rng(_HOLD_OUT_SEED).permutation(size)).to(data.train_labels.device)
    train, test = order[:-count].sort().values, order[-count:].sort().values
    return dataclasses.replace(
        data,
        title=f"{data.title} (validation split)",
        train_images=data.train_images[train],
        train_labels=data.train_labels[train],
        test_images=data.train_images[test],
        test_labels=data.train_labels[test],
    )


def default_data_root() -> Path:
    """``DPAUDIT_DATA`` if it is set, else ``./data``."""
    return Path(os.environ.get("DPAUDIT_DATA") or "data")


def load_dataset(name: str, *, root: Path | None = None, device: torch.device | str = "cpu") -> Dataset:
    """The named data set on ``device``.

    Raises:
        UsageError: no such data set.
        UnusableDataset: files are absent and cannot be fetched, or are empty, truncated or malformed.
    """
    try:
        return _load(name, default_data_root() if root is None else root, device)
    except DataError as error:
        raise UnusableDataset(str(error)) from error
    except OSError as error:
        raise UnusableDataset(
            f"data set: cannot read {error.filename} ({error.strerror}); mend its permissions, or fetch it again"
        ) from error


def _load(name: str, root: Path, device: torch.device | str) -> Dataset:
    match name:
        case "digits":
            return _on_device("digits", _digits(), device, mean=(0.3053,), std=(0.3760,), maximum=16.0)
        case "mnist":
            return _on_device("MNIST", _idx_set(root, "MNIST"), device, mean=(0.1307,), std=(0.3081,))
        case "fmnist":
            return _on_device("Fashion-MNIST", _idx_set(root, "FashionMNIST"), device, mean=(0.2860,), std=(0.3530,))
        case "cifar10":
            title, arrays = _cifar10(root)
            return _on_device(title, arrays, device, mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
        case _:
            raise UsageError(f"data set: expected one of digits, mnist, fmnist, cifar10, got {name!r}")


def _on_device(
    title: str,
    arrays: _Arrays,
    device: torch.device | str,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    maximum: float = 255.0,
) -> Dataset:
    def channelwise(values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values, device=device).view(1, -1, 1, 1)

    return Dataset(
        title=title,
        train_images=torch.from_numpy(arrays.train_images).to(device),
        train_labels=torch.from_numpy(arrays.train_labels).to(device),
        test_images=torch.from_numpy(arrays.test_images).to(device),
        test_labels=torch.from_numpy(arrays.test_labels).to(device),
        mean=channelwise(mean),
        std=channelwise(std),
        maximum=maximum,
    )


def _digits() -> _Arrays:
    """1,797 images of 8x8 with values 0 to 16; a fixed random split into 1,437 for training and 360 for testing."""
    from sklearn.datasets import load_digits  # takes a second to import, and only this set needs it

    bunch = load_digits()
    images = bunch.images.astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    order = np.random.default_rng(_DIGITS_SPLIT_SEED).permutation(len(images))
    train, test = order[:1437], order[1437:]
    return _Arrays(images[train], labels[train], images[test], labels[test])


def _idx_set(root: Path, folder: str) -> _Arrays:
    raw = root / folder / "raw"
    if any(find_idx(raw, name) is None for name in _IDX_NAMES):
        _download(folder, root)
    paths = {name: find_idx(raw, name) for name in _IDX_NAMES}
    absent = [name for name, path in paths.items() if path is None]
    if absent:
        raise DataError(f"data set: expected {', '.join(absent)} (or .gz) in {raw}, found none; put them there")
    train_images, train_labels, test_images, test_labels = (
        read_idx(path, shape=(size, 28, 28) if "images" in name else (size,))
        for (name, path), size in zip(paths.items(), (60_000, 60_000, 10_000, 10_000), strict=True)
        if path is not None
    )
    for labels in (train_labels, test_labels):
        if not (labels <= 9).all():
            raise DataError(f"data set: expected labels 0 to 9 in {raw}, got {labels.max()}; fetch the files again")
    return _Arrays(
        train_images[:, None], train_labels.astype(np.int64), test_images[:, None], test_labels.astype(np.int64)
    )


def _cifar10(root: Path) -> tuple[str, _Arrays]:
    folder = None if (root / "cifar-10-batches-py").is_dir() else find_image_folder(root)
    if folder is not None:
        train_images, train_labels = read_image_folder(folder, "train", per_class=5_000)
        test_images, test_labels = read_image_folder(folder, "test", per_class=1_000)
        return "CIFAR-10 (JPEG copy)", _Arrays(train_images, train_labels, test_images, test_labels)
    parts = [_download("CIFAR10", root, train=train) for train in (True, False)]
    (train_images, train_labels), (test_images, test_labels) = (
        (np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.asarray(part.targets, dtype=np.int64))
        for part in parts
    )
    return "CIFAR-10", _Arrays(train_images, train_labels, test_images, test_labels)


def _download(name: str, root: Path, *, train: bool = True):  # type: ignore[no-untyped-def]  # torchvision has no types
    """torchvision's data set of that class, fetched if it is absent and checked against its own checksums."""
    from torchvision import datasets

    try:
        return getattr(datasets, name)(str(root), train=train, download=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise DataError(
            f"data set: {name} is not complete under {root} and could not be fetched ({type(error).__name__}: {error}); "
            "put its files there, or set DPAUDIT_DATA to the folder that has them"
        ) from error
