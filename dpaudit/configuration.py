"""Defaults from ``[tool.dpaudit]`` of the nearest ``pyproject.toml``; an option on the command line wins.

Keys are long options of ``dpaudit gate`` without the dashes in front: ``preset``, ``layers``, ``accuracy``, ``runs``,
``jobs``, ``time-limit``, ``expect``, ``data-root``, ``out``, ``relation``, ``rows``, ``sampler``, ``nonfinite``.
"""

import argparse
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path

from dpaudit.contract import DataError, UsageError

DEFAULTS: Mapping[str, object] = {"preset": "digits", "accuracy": "digits", "runs": 1, "jobs": 2}
"""What ``dpaudit gate`` does where neither the command line nor a configuration says otherwise."""

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "preset": str,
    "layers": (str, list),
    "accuracy": str,
    "runs": int,
    "jobs": int,
    "time-limit": (int, float),
    "expect": str,
    "data-root": str,
    "out": str,
    "relation": str,
    "rows": str,
    "sampler": str,
    "nonfinite": str,
}


def apply_configuration(arguments: argparse.Namespace, start: Path | None = None) -> None:
    """Fill every option of ``arguments`` that was not given: from the configuration, else from the defaults.

    Raises:
        UsageError: an unknown key (the nearest known one is named) or a value of the wrong type.
        DataError: the file is not TOML.
    """
    path = _find(start or Path.cwd())
    table = {} if path is None else read_configuration(path)
    for key, value in table.items():
        name = key.replace("-", "_")
        if getattr(arguments, name, "absent") is None:
            setattr(arguments, name, ",".join(value) if isinstance(value, list) else value)
    for name, value in DEFAULTS.items():
        if getattr(arguments, name, "absent") is None:
            setattr(arguments, name, value)


def read_configuration(path: Path) -> Mapping[str, object]:
    """The table ``[tool.dpaudit]`` of ``path``, checked; empty if there is none."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected TOML, got {error}") from None
    table = document.get("tool", {}).get("dpaudit", {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [tool.dpaudit]: expected a table, got {table!r}")
    for key, value in table.items():
        if key not in _TYPES:
            close = difflib.get_close_matches(key, _TYPES, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"{path}: [tool.dpaudit]: unknown key {key!r}; known: {', '.join(_TYPES)}{hint}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise UsageError(f"{path}: [tool.dpaudit]: {key}: got {value!r}, which is of the wrong type")
    return table


def _find(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        candidate = folder / "pyproject.toml"
        if candidate.is_file():
            return candidate
    return None
