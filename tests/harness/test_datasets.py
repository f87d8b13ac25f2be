"""Data sets: what is read, and what is said of files that are absent, empty or truncated."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dpaudit.contract import DataError, UsageError
from harness import datasets, image_folder
from harness.datasets import default_data_root, load_dataset
from harness.idx_files import read_idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_digits_are_split_once_and_for_all() -> None:
    data, again = load_dataset("digits"), load_dataset("digits")
    assert data.train_images.shape == (1_437, 1, 8, 8)
    assert data.test_images.shape == (360, 1, 8, 8)
    assert data.train_images.dtype == torch.uint8
    assert torch.equal(data.train_images, again.train_images)
    assert sorted(data.test_labels.unique().tolist()) == list(range(10))
    pixels = data.normalised(data.train_images)
    assert abs(float(pixels.mean())) < 0.02
    assert abs(float(pixels.std()) - 1) < 0.02


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_plain_and_gzipped(tmp_path: Path, packed: bool) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    assert np.array_equal(read_idx(path, shape=(2, 3, 4)), array)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"", "expected at least 16 bytes of header, got 0 bytes"),
        (lambda data: data[:-3], "expected 40 bytes, got 37 bytes"),
        (lambda data: data + b"x", "expected 40 bytes, got 41 bytes"),
        (lambda data: b"<html>" + data, "expected an IDX file of unsigned bytes"),
        (lambda data: data[:7] + b"\x05" + data[8:], r"expected shape \(2, 3, 4\), got shape \(5, 3, 4\)"),
    ],
)
def test_a_damaged_idx_file_is_refused_with_its_name(tmp_path: Path, damage, words: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "train"
    path.write_bytes(damage(idx(np.zeros((2, 3, 4), dtype=np.uint8))))
    with pytest.raises(DataError, match=words) as caught:
        read_idx(path, shape=(2, 3, 4))
    assert str(path) in str(caught.value)
    assert "fetch it again" in str(caught.value)


def test_a_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((2, 3, 4), dtype=np.uint8)))[:-6])
    with pytest.raises(DataError, match="expected a readable file"):
        read_idx(path, shape=(2, 3, 4))


def test_mnist_from_files_and_from_a_folder_with_one_empty_file(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, size in (("train", 60_000), ("t10k", 10_000)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(np.full((size, 28, 28), 7, dtype=np.uint8)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(np.full(size, 3, dtype=np.uint8)))
    data = load_dataset("mnist", root=tmp_path)
    assert data.title == "MNIST"
    assert data.train_images.shape == (60_000, 1, 28, 28)
    assert data.test_labels.dtype == torch.int64
    expected = (7 / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(data.normalised(data.train_images[:1]), torch.full((1, 1, 28, 28), expected))
    (raw / "t10k-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: expected at least 8 bytes of header, got 0 bytes"):
        load_dataset("mnist", root=tmp_path)
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(np.full(10_000, 11, dtype=np.uint8)))
    with pytest.raises(DataError, match="expected labels 0 to 9"):
        load_dataset("mnist", root=tmp_path)


def test_absent_files_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets as published

    def offline(*_arguments: object, **_named: object) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(published, "MNIST", offline)
    with pytest.raises(DataError, match=r"MNIST is not complete under .*no network.*DPAUDIT_DATA"):
        load_dataset("mnist", root=tmp_path)


def test_an_unknown_data_set() -> None:
    with pytest.raises(UsageError, match="expected one of digits, mnist, fmnist, cifar10, got 'imagenet'"):
        load_dataset("imagenet")


def test_the_root_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPAUDIT_DATA", "/somewhere")
    assert default_data_root() == Path("/somewhere")
    monkeypatch.delenv("DPAUDIT_DATA")
    assert default_data_root() == Path("data")


@pytest.fixture
def small_folder(tmp_path: Path) -> Path:
    """Ten classes of two images; the colour tells the class."""
    for part in ("train", "test"):
        for number in range(10):
            folder = tmp_path / "cifar10-jpeg" / part / f"class{number}"
            folder.mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (32, 32), (20 * number, 0, 0)).save(folder / f"{index}.jpg", quality=95)
    return tmp_path


def test_a_folder_of_images_is_decoded_once(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_folder.find_image_folder(small_folder)
    assert folder is not None
    images, labels = image_folder.read_image_folder(folder, "train", per_class=2)
    assert images.shape == (20, 3, 32, 32)
    assert labels.tolist() == [number for number in range(10) for _ in range(2)]
    assert np.abs(images[:, 0].mean((1, 2)) - 20 * labels).max() < 4
    monkeypatch.setattr(image_folder, "_decode", lambda path: pytest.fail("decoded again"))
    again, _ = image_folder.read_image_folder(folder, "train", per_class=2)
    assert np.array_equal(images, again)


def test_a_damaged_cache_is_made_again_and_a_changed_file_is_seen(small_folder: Path) -> None:
    folder = small_folder / "cifar10-jpeg"
    images, _ = image_folder.read_image_folder(folder, "train", per_class=2)
    (cache,) = (folder / ".decoded").glob("train-*.npz")
    cache.write_bytes(b"PK damaged")
    again, _ = image_folder.read_image_folder(folder, "train", per_class=2)
    assert np.array_equal(images, again)
    Image.new("RGB", (32, 32), (0, 255, 0)).save(folder / "train" / "class0" / "0.jpg")
    changed, _ = image_folder.read_image_folder(folder, "train", per_class=2)
    assert not np.array_equal(images, changed)


def test_the_copy_is_named_as_one(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        datasets,
        "read_image_folder",
        lambda folder, part, per_class: image_folder.read_image_folder(folder, part, per_class=2),
    )
    assert load_dataset("cifar10", root=small_folder).title == "CIFAR-10 (JPEG copy)"


def test_missing_and_broken_images_are_named(small_folder: Path) -> None:
    folder = small_folder / "cifar10-jpeg"
    (folder / "train" / "class3" / "1.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"expected an image in .*class3.1\.jpg"):
        image_folder.read_image_folder(folder, "train", per_class=2)
    (folder / "train" / "class3" / "1.jpg").unlink()
    with pytest.raises(DataError, match=r"expected 2 images in .*class3, got 1; unpack the set again"):
        image_folder.read_image_folder(folder, "train", per_class=2)
