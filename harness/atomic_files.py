"""Files that are either whole or absent: written beside their place, flushed to disk, then renamed."""

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError


def write_atomically(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data`` in one step.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
            temporary = Path(stream.name)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise DataError(
            f"run directory: cannot write {path}: {error.strerror or error}; free space or give another output folder"
        ) from error


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """An ``.npz`` file of plain arrays, whole or absent.

    Raises:
        DataError: the folder cannot be written, or the disk is full.
    """
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    write_atomically(path, stream.getvalue())


def make_directory(path: Path) -> None:
    """Create ``path`` and its parents.

    Raises:
        DataError: it cannot be created, or something else than a folder is there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"run directory: cannot create {path}: {error.strerror or error}; give another output folder"
        ) from error
