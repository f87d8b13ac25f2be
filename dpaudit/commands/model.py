"""``dpaudit model``: does one example influence another in a user's own network? (rule DPA503)"""

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from dpaudit.contract import ExitCode, UsageError

RULE = "DPA503"


def run(arguments: argparse.Namespace) -> ExitCode:
    """Print what was found; code 1 if examples are not kept apart or a gradient is wrong. The network's code runs here."""
    from harness.independence import find_mixing

    shape = _shape(arguments.shape)
    model = _built(arguments.path)
    try:
        found = find_mixing(model, shape)
    except Exception as error:
        # The network is the user's code: what it raises on such rows is told, and is no pass.
        print(f"{arguments.path}: not examined: {type(error).__name__}: {error}")
        return ExitCode.INCONCLUSIVE
    for mixing in found:
        print(f"{RULE} {arguments.path}: {mixing}")
    if found:
        return ExitCode.REJECTED
    print(
        f"{arguments.path}: on the rows tried every example is treated apart and every per-sample gradient is its own"
    )
    return ExitCode.ALL_ACCEPTED


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or any(size < 1 for size in shape):
        raise UsageError(f"--shape: expected positive whole numbers with commas, got {text!r}")
    return shape


def _built(spec: str) -> Any:
    import torch

    path, _, name = spec.rpartition(":")
    if not path or not name.isidentifier() or not Path(path).is_file():
        raise UsageError(
            f"model: expected FILE.py:FACTORY, got {spec!r}" + ("" if Path(path).is_file() else ": no such file")
        )
    found = importlib.util.spec_from_file_location(Path(path).stem, path)
    if found is None or found.loader is None:
        raise UsageError(f"model: {path} is no Python file")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    try:
        found.loader.exec_module(module)
        model = getattr(module, name)()
    except Exception as error:
        raise UsageError(f"model: {spec} does not build: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"model: {spec} returned {type(model).__name__}, expected a torch module")
    return model
