"""From PATH arguments to mechanism specs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from dpaudit.contract import UsageError


def expand(paths: Iterable[str]) -> tuple[str, ...]:
    """Files as they are (``file.py`` or ``file.py::ClassName``); folders as the ``*.py`` files below them.

    Files whose name begins with ``_`` are skipped in folders. Order is kept, duplicates are dropped.

    Raises:
        UsageError: a path does not exist.
    """
    return tuple(dict.fromkeys(spec for path in paths for spec in _expand_one(path)))


def _expand_one(path: str) -> Iterator[str]:
    file, _, _ = path.partition("::")
    place = Path(file)
    if place.is_dir():
        yield from (str(found) for found in sorted(place.rglob("*.py")) if not found.name.startswith("_"))
    elif place.exists():
        yield path
    else:
        raise UsageError(f"no such file: {file!r}; give a mechanism file, PATH::ClassName, or a folder of them")
