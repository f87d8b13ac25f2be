"""A run of a candidate in a process that holds none of dpaudit's instrumentation, and the plan of such a run.

Run as a script it imports nothing of dpaudit: torch's functions, modes and generators are as they are in training. The worker
that watches makes the same run under the tape, with :func:`follow`, and the parent compares the two.
"""

import json
import math
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

Statistics = list[tuple[float, float]]
"""For each call: a fixed combination of the released coordinates, and their norm."""
_BATCHES = 3


def batches(shapes: list[list[int]], rows: int, bound: float, dtype: Any) -> list[list[Any]]:
    """Public batches of gradients of many norms, the same in every process."""
    import torch

    generator = torch.Generator().manual_seed(11)
    out = []
    for _ in range(_BATCHES):
        norms = torch.exp(1.5 * torch.randn(rows, generator=generator, dtype=torch.float64)) * bound
        size = math.sqrt(sum(math.prod(shape) for shape in shapes))
        out.append(
            [
                (
                    torch.randn(rows, *shape, generator=generator, dtype=torch.float32)
                    * (norms / size).view(-1, *[1] * len(shape)).to(torch.float32)
                ).to(dtype)
                for shape in shapes
            ]
        )
    return out


def statistic(released: Any) -> tuple[float, float]:
    """What is compared of one release."""
    import torch

    with torch.no_grad():
        flat = torch.cat([tensor.detach().to(torch.float64).reshape(-1) for tensor in released])
        weights = torch.cos(torch.arange(1, flat.numel() + 1, dtype=torch.float64))
        return float(weights @ flat), float(flat.norm())


def follow(
    make: Callable[[], Any], call: Callable[[Any, list[Any], int, int], Any], plan: dict[str, Any]
) -> Statistics:
    """Make the calls of a plan, in order; stop when its time is up.

    Args:
        make: a fresh mechanism object.
        call: ``clip_and_noise`` of an object on a batch, at a step and an epoch.
        plan: ``runs``, each with a seed and steps; shapes, rows, dtype, steps_per_epoch, bound, seconds.
    """
    import random

    import numpy as np
    import torch

    dtype = getattr(torch, plan["dtype"])
    torch.set_default_dtype(dtype)
    given = batches(plan["shapes"], plan["rows"], plan["bound"], dtype)
    started = time.monotonic()
    out: Statistics = []
    for run in plan["runs"]:
        torch.manual_seed(run["seed"])
        np.random.seed(run["seed"] % 2**32)  # noqa: NPY002 - the candidate may draw from it
        random.seed(run["seed"])
        mechanism = make()
        for step in run["steps"]:
            if time.monotonic() - started > plan["seconds"]:
                return out
            batch = [tensor.clone() for tensor in given[step % _BATCHES]]
            released = call(mechanism, batch, step, step // plan["steps_per_epoch"] + 1)
            out.append(statistic(released))
    return out


def _guard(path: str, memory_mib: int) -> None:
    """Refuse what the worker refuses, without importing dpaudit, and limit memory as there."""
    import resource
    from pathlib import Path

    guard, kernel_barrier = _by_file("guard"), _by_file("kernel_barrier")
    guard.Guard(path, Path.cwd()).install()
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mib * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    kernel_barrier.raise_barrier(Path.cwd())


def _by_file(name: str) -> Any:
    """A module of the folder contract that needs nothing else of dpaudit."""
    from importlib.util import module_from_spec, spec_from_file_location
    from pathlib import Path

    spec = spec_from_file_location("_" + name, Path(__file__).parents[1] / "contract" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError(f"{name}.py does not lie in the folder contract")
    module = module_from_spec(spec)
    sys.modules["_" + name] = module
    spec.loader.exec_module(module)
    return module


def _main() -> None:
    import numpy as np
    import scipy.optimize as sp_optimize
    import torch
    import torch.nn as nn
    import torch.nn.functional as functional

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    answer = open(sys.argv[2], "w", encoding="utf-8")  # noqa: SIM115 - opened before the candidate may open nothing
    module = types.ModuleType("candidate")
    sys.modules["candidate"] = module
    module.__dict__.update(
        {"torch": torch, "math": math, "np": np, "sp_optimize": sp_optimize, "nn": nn, "F": functional}
    )
    module.__dict__["__file__"] = request["path"]
    _guard(request["path"], request["memory_limit_mib"])
    exec(compile(request["text"], request["path"], "exec"), module.__dict__)
    cls = module.__dict__[request["class_name"]]
    answers = []
    for plan in request["plans"]:
        answers.append(
            follow(
                lambda plan=plan: cls(*plan["constructor"]),  # type: ignore[misc]
                lambda mechanism, batch, step, epoch: mechanism.clip_and_noise(batch, step, epoch),
                plan,
            )
        )
    answer.write(json.dumps(answers))
    answer.flush()


if __name__ == "__main__":
    _main()
