"""Arrays read from files that a run left, or that somebody put in their place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError


def read_array(path: Path, *, what: str, remedy: str) -> NDArray[Any]:
    """The array of an ``.npy`` file.

    Args:
        what, remedy: begin and end of the message.

    Raises:
        DataError: absent, damaged, an archive, or more than fits into memory.
    """
    try:
        with path.open("rb") as stream:  # numpy would leave a damaged archive open
            values = np.load(stream, allow_pickle=False)
        if isinstance(values, np.ndarray):
            return values
        kind = "an archive"
    except Exception as error:  # a damaged file raises many kinds
        kind = type(error).__name__
    raise DataError(f"{what}: cannot read {path} ({kind}); {remedy}")


def read_archive(path: Path, names: Sequence[str], *, what: str, remedy: str) -> dict[str, NDArray[Any]]:
    """The named arrays of an ``.npz`` file.

    Raises:
        DataError: absent, damaged, without one of them, or more than fits into memory.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: np.asarray(stored[name]) for name in names}
    except Exception as error:  # a damaged archive raises many kinds
        raise DataError(f"{what}: cannot read {path} ({type(error).__name__}); {remedy}") from error
