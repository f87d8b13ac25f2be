"""Defaults from ``[tool.dpaudit]`` of the nearest ``pyproject.toml``; an option on the command line wins.

Keys are long options of ``dpaudit gate`` without the dashes in front, and ``targets``, the paths that are audited where the
command line names none. ``docs/verdicts.md`` lists them.
"""

import argparse
import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from dpaudit.contract import DataError, UsageError

DEFAULTS: Mapping[str, object] = {"preset": "digits", "accuracy": "digits", "runs": 1, "jobs": 2}
"""What ``dpaudit gate`` does where neither the command line nor a configuration says otherwise."""

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "targets": list,
    "preset": str,
    "layers": (str, list),
    "required-layers": (str, list),
    "accuracy": str,
    "runs": int,
    "jobs": int,
    "time-limit": (int, float),
    "expect": str,
    "data-root": str,
    "docs-url": str,
    "out": str,
    "relation": str,
    "rows": str,
    "sampler": str,
    "nonfinite": str,
}

_GATE_ONLY = ("targets", "out", "expect", "required-layers")
"""Keys that speak of ``dpaudit gate`` alone; the others are taken by every command that has such an option."""

_PATHS = ("expect", "data-root", "out")
"""Keys whose value is a path: relative to the folder of the file that names it."""


def apply_configuration(arguments: argparse.Namespace, start: Path | None = None) -> None:
    """Fill every option of ``arguments`` that was not given: from the configuration, else from the defaults.

    Raises:
        UsageError: an unknown key (the nearest known one is named) or a value of the wrong type.
        DataError: the file is not TOML.
    """
    path = _find(start or Path.cwd())
    table = {} if path is None else read_configuration(path)
    gate = hasattr(arguments, "required_layers")
    for key, value in table.items():
        name = key.replace("-", "_")
        if (gate or key not in _GATE_ONLY) and getattr(arguments, name, "absent") is None:
            setattr(arguments, name, ",".join(value) if isinstance(value, list) else value)
    if gate and not (arguments.paths or arguments.opacus or arguments.function or arguments.ledger):
        arguments.paths = list(table.get("targets", ()))  # type: ignore[call-overload]
    for name, value in DEFAULTS.items():
        if getattr(arguments, name, "absent") is None:
            setattr(arguments, name, value)


def read_configuration(path: Path) -> Mapping[str, object]:
    """The table ``[tool.dpaudit]`` of ``path``, checked; empty if there is none."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise DataError(f"{path}: expected TOML, got {error}") from None
    tools = document.get("tool", {})
    if not isinstance(tools, dict):
        raise DataError(f"{path}: [tool]: expected a table, got {tools!r:.60}")
    table = tools.get("dpaudit", {})
    if not isinstance(table, dict):
        raise UsageError(f"{path}: [tool.dpaudit]: expected a table, got {table!r}")
    for key, value in table.items():
        if key not in _TYPES:
            close = difflib.get_close_matches(key, _TYPES, n=1, cutoff=0.4)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise UsageError(f"{path}: [tool.dpaudit]: unknown key {key!r}; known: {', '.join(_TYPES)}{hint}")
        if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
            raise UsageError(f"{path}: [tool.dpaudit]: {key}: got {value!r}, which is of the wrong type")
    return {key: _placed(path, key, value) for key, value in table.items()}


def _placed(path: Path, key: str, value: object) -> object:
    """Paths are relative to the file that names them, and are shown relative to where the command runs."""
    if key == "targets" and isinstance(value, list):
        if not all(isinstance(target, str) for target in value):
            raise UsageError(f"{path}: [tool.dpaudit]: targets: expected a list of paths, got {value!r}")
        return [_from_here(path, target) for target in value]
    return _from_here(path, value) if key in _PATHS and isinstance(value, str) else value


def _from_here(path: Path, value: str) -> str:
    return os.path.relpath(path.parent / value)


def _find(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        candidate = folder / "pyproject.toml"
        if candidate.is_file():
            return candidate
    return None
