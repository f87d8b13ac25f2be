"""The confined child: ``python -m harness.child REQUEST.json RESULT.json`` (see :mod:`harness.confined`).

It does one task that executes candidate code and writes how that ended. Whatever the candidate prints goes to this
process's own output and can disturb nothing; a candidate that ends the process leaves no result, which the parent reports.
Where the request asks for it, the kernel confines the process to the run's folder first (:mod:`harness.behind_barrier`).
"""

import ctypes
import dataclasses
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from dpaudit.contract import DataError, RunConfig
from dpaudit.contract.guard import EndedProcess, Guard

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

from .behind_barrier import confine_to, go_on_in_fork, write_caches
from .canaries import CanaryKind, CanaryPlan
from .candidate import MechanismError, read_candidate
from .datasets import UnusableDataset, load_dataset
from .presets import preset
from .recipe import Engine, Recipe
from .repeated_training import WorstCase, train_repeatedly
from .run_directory import read_run
from .run_json import config_from_json
from .scattering_data import load_scattering
from .shadow_training import train_shadows
from .step_replay import replay_steps
from .training import train

Settings = TypeVar("Settings", Recipe, Engine)

_FILE_LIMIT_BYTES = 4 * 2**30
"""Largest single file that the child may write: a flood of output ends the child, it does not fill the disk."""

_PR_SET_PDEATHSIG = 1

Request = Mapping[str, Any]


def main(request_path: str, result_path: str) -> None:
    """Do what the request says and write the result."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    if request["barrier"]:
        _end_with_parent(request["parent"])
        write_caches(lambda: _load_data(request))
        request["parent"] = os.getpid()
        go_on_in_fork()
    with open(result_path, "wb") as result:  # now: behind the barrier it could not be opened
        result.write(json.dumps(_outcome(request)).encode())


def _load_data(request: Request) -> None:
    name = request["preset"] if "preset" in request else _config_of(request).name
    settings, root = preset(name), Path(request["data_root"])
    if settings.features is None:
        load_dataset(settings.dataset, root=root)
    else:
        load_scattering(settings.dataset, settings.features, root=root, device="cpu", progress=False)


def _config_of(request: Request) -> RunConfig:
    if "config" in request:
        return config_from_json(request["config"], where="request")
    return read_run(request["directory"]).config


def _outcome(request: Request) -> dict[str, Any]:
    _limit(request)
    if request["barrier"]:
        try:
            confine_to(Path.cwd(), *([Path(request["out"])] if "out" in request else []))
        except (RuntimeError, DataError) as error:
            return _ended("failed", f"training: {error}")
    guard = Guard(request["spec"].rpartition("::")[0], Path.cwd())
    guard.install()
    try:
        answer = TASKS[request["task"]](request)
    except MechanismError as error:
        return _ended("crashed", str(error), error.line)
    except EndedProcess as error:
        return _ended("exited", f"training: the mechanism tried to end the process before training did: {error}")
    except UnusableDataset as error:
        return _ended("no_data", str(error))
    except Exception as error:
        return _ended("failed", f"training: {type(error).__name__}: {error}")
    finally:
        guard.off()
    if guard.attempts:
        tried = guard.attempts[0]
        return _ended("refused", f"training: the mechanism tried what it may not: {tried.action}", tried.line)
    return {"kind": "done", "message": "", "line": None, "trace": "", "answer": answer}


def _ended(kind: str, message: str, line: int | None = None) -> dict[str, Any]:
    trace = traceback.format_exc(limit=-20)[-4_000:]
    return {"kind": kind, "message": message, "line": line, "trace": trace, "answer": {}}


def _limit(request: Request) -> None:
    torch.set_num_threads(request["threads"])
    _end_with_parent(request["parent"])
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_LIMIT_BYTES, _FILE_LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if request["memory_bytes"] is not None:
            # Private memory, not address space: torch reserves far more than it uses.
            resource.setrlimit(resource.RLIMIT_DATA, (request["memory_bytes"], request["memory_bytes"]))


def _end_with_parent(parent: int) -> None:
    """A parent that is killed cannot end this process: on Linux the kernel does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)


def _train(request: Request) -> dict[str, Any]:
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
        canaries=_canary_plan(request["canaries"]),
    )
    return {}


def _settings(kind: type[Settings], values: dict[str, Any] | None) -> Settings | None:
    return None if values is None else kind.from_json(values, where="request")


def _canary_plan(values: dict[str, Any] | None) -> CanaryPlan | None:
    if values is None:
        return None
    kinds = tuple(CanaryKind(kind) for kind in values["kinds"])
    return CanaryPlan(count=values["count"], kinds=kinds, per_coordinate=values["per_coordinate"])


def _replay(request: Request) -> dict[str, Any]:
    record = read_run(request["directory"])
    steps = replay_steps(record, read_candidate(request["spec"]), data_root=request["data_root"])
    return {"steps": [dataclasses.asdict(step) for step in steps]}


def _shadow(request: Request) -> dict[str, Any]:
    plan = _canary_plan(request["canaries"])
    assert plan is not None
    train_shadows(
        read_candidate(request["spec"]),
        config_from_json(request["config"], where="request"),
        plan,
        models=request["models"],
        seed=request["seed"],
        out=Path(request["out"]),
        data_root=request["data_root"],
    )
    return {}


def _repeat(request: Request) -> dict[str, Any]:
    train_repeatedly(
        read_candidate(request["spec"]),
        config_from_json(request["config"], where="request"),
        WorstCase(kind=CanaryKind(request["kind"]), fitted_weights=request["fitted_weights"]),
        runs=request["runs"],
        seed=request["seed"],
        out=Path(request["out"]),
        data_root=request["data_root"],
    )
    return {}


TASKS: Mapping[str, Callable[[Request], dict[str, Any]]] = {
    "train": _train,
    "replay": _replay,
    "shadow": _shadow,
    "repeat": _repeat,
}
"""What the child can do; each returns plain data."""


if __name__ == "__main__":
    main(*sys.argv[1:])
