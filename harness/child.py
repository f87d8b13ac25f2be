"""The training child: ``python -m harness.child REQUEST.json RESULT.json``.

It trains once and writes how that ended. Whatever the candidate prints goes to this process's own output and can disturb
nothing; a candidate that ends the process leaves no result, which the parent reports.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any, TypeVar

import torch

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

from .atomic_files import write_atomically
from .candidate import MechanismError
from .recipe import Engine, Recipe
from .run_json import config_from_json
from .training import train

Settings = TypeVar("Settings", Recipe, Engine)

_FILE_LIMIT_BYTES = 4 * 2**30
"""Largest single file that the child may write: a flood of output ends the child, it does not fill the disk."""


def main(request_path: str, result_path: str) -> None:
    """Train as the request says and write the result."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    write_atomically(Path(result_path), json.dumps(_outcome(request)).encode())


def _outcome(request: dict[str, Any]) -> dict[str, Any]:
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, _FILE_LIMIT_BYTES))
    torch.set_num_threads(request["threads"])
    try:
        train(
            request["spec"],
            request["preset"],
            seed=request["seed"],
            out=Path(request["out"]),
            config=config_from_json(request["config"], where="request"),
            device=request["device"],
            data_root=request["data_root"],
            epochs=request["epochs"],
            resume=request["resume"],
            progress=False,
            max_steps=request["max_steps"],
            form=request["form"],
            recipe=_settings(Recipe, request["recipe"]),
            engine=_settings(Engine, request["engine"]),
            hold_out=request["hold_out"],
        )
    except MechanismError as error:
        return {"kind": "crashed", "message": str(error), "line": error.line, "trace": _trace()}
    except Exception as error:
        return {
            "kind": "failed",
            "message": f"training: {type(error).__name__}: {error}",
            "line": None,
            "trace": _trace(),
        }
    return {"kind": "trained", "message": "", "line": None, "trace": ""}


def _settings(kind: type[Settings], values: dict[str, Any] | None) -> Settings | None:
    return None if values is None else kind.from_json(values, where="request")


def _trace() -> str:
    return traceback.format_exc(limit=-20)[-4_000:]


if __name__ == "__main__":
    main(*sys.argv[1:])
