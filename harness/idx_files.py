"""Reader of the IDX format, in which MNIST and Fashion-MNIST are published, plain or gzipped.

Source: the format is described on the MNIST page of Y. LeCun et al.: two zero bytes, a type byte (8 = unsigned byte),
the number of dimensions, each dimension as a big-endian 32-bit integer, then the values.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError

_UNSIGNED_BYTE = 8


def find_idx(folder: Path, name: str) -> Path | None:
    """``name`` or ``name.gz`` in ``folder``, whichever exists, plain first."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def read_idx(path: Path, *, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file.

    Raises:
        DataError: unreadable, empty or truncated, not IDX, or of another shape than expected.
    """
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _malformed(path, "a readable file", f"{type(error).__name__}: {error}") from error
    header = 4 + 4 * len(shape)
    if len(data) < header:
        raise _malformed(path, f"at least {header} bytes of header", f"{len(data)} bytes")
    zero, kind, dimensions = struct.unpack(">HBB", data[:4])
    if zero != 0 or kind != _UNSIGNED_BYTE or dimensions != len(shape):
        raise _malformed(
            path, f"an IDX file of unsigned bytes with {len(shape)} dimensions", f"header {data[:4].hex()}"
        )
    found = struct.unpack(f">{dimensions}I", data[4:header])
    if found != shape:
        raise _malformed(path, f"shape {shape}", f"shape {found}")
    size = math.prod(shape)
    if len(data) != header + size:
        raise _malformed(path, f"{header + size} bytes", f"{len(data)} bytes")
    return np.frombuffer(data, dtype=np.uint8, offset=header).reshape(shape).copy()


def _malformed(path: Path, expected: str, got: str) -> DataError:
    return DataError(f"data set: {path}: expected {expected}, got {got}; delete the file and fetch it again")
