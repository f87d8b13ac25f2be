"""Watched against unwatched: the same calls in a process without instrumentation must give the same distribution.

A mechanism may look for a dispatch mode, for a function that is not torch's own, or for anything else that watching changes,
and behave only then. The worker makes a run under the tape; the parent has it made again by :mod:`dpaudit.probe.clean_run`,
with the same seeds and batches. For most mechanisms the two agree number by number, at every step. If they do not, but a
second run that nothing watches agrees with the first, they differ for certain. A mechanism that takes entropy of its own
agrees with no run; its releases are then compared as samples, with fresh seeds: two-sample Kolmogorov-Smirnov tests over
runs, each at :data:`LEVEL` over the number of tests, and again with other seeds. Both must reject for a finding, so that an
honest mechanism gets one with probability at most ``LEVEL ** 2``.
"""

import ast
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dpaudit
from dpaudit.contract import Severity, Strength
from dpaudit.contract.scratch import scratch_folder
from dpaudit.contract.source_selection import select

from .candidates import shrink
from .clean_run import Statistics
from .messages import Request
from .problem import Problem

LEVEL = 1e-6
_RUNS = 120
_STEPS = 3
_REAL_ELEMENTS = 30_000_000
_TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
_SECONDS = 4.0
_GRACE = 120.0
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True, slots=True)
class CleanAnswer:
    """What the process without instrumentation gave for each plan, or why it gave nothing."""

    statistics: tuple[Statistics, ...]
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the two runs say together: a problem of rule DPA217, what held, or why nothing may be concluded."""

    problem: Problem | None = None
    held: str = ""
    limit: str = ""


def plans(request: Request) -> list[dict[str, Any]]:
    """All steps in order at small shapes; single calls of fresh objects at the real ones."""
    total = request.config.total_steps
    small = _plan(request, real=False, runs=[{"seed": request.seed, "steps": list(range(total))}])
    starts = sorted({0, total // 2, total - 1})
    real = _plan(request, real=True, runs=[{"seed": request.seed + step, "steps": [step]} for step in starts])
    return [small, real] if real["rows"] * request.config.n_params <= _REAL_ELEMENTS else [small]


def sampling_plans(request: Request, seed: int) -> list[dict[str, Any]]:
    """Many runs of a few steps with their own seeds, at small shapes."""
    steps = list(range(min(_STEPS, request.config.total_steps)))
    return [_plan(request, real=False, runs=[{"seed": seed + run, "steps": steps} for run in range(_RUNS)])]


def compare(request: Request, watched: Sequence[Statistics], clean: CleanAnswer) -> Comparison:
    """Hold the two runs against each other."""
    wanted = plans(request)
    if clean.failure or len(watched) != len(wanted):
        if clean.failure and not watched:
            limit = "no run could be made on random batches, watched or not: the two were not compared"
            return Comparison(limit=limit)
        what = clean.failure or "the watched run failed"
        message = f"a run that nothing watches could not be compared with the one that was watched: {what}"
        return Comparison(problem=differs_unwatched(message, None, Strength.HEURISTIC))
    calls = sum(min(len(here), len(there)) for here, there in zip(watched, clean.statistics, strict=True))
    at = next(
        (
            (plan, index)
            for plan, here, there in zip(wanted, watched, clean.statistics, strict=True)
            if (index := disagreement(here, there, plan)) is not None
        ),
        None,
    )
    if at is None:
        reached = min(len(watched[0]), len(clean.statistics[0]))
        return Comparison(
            held=f"a process without instrumentation released the same in {calls} calls ({reached} of "
            f"{request.config.total_steps} steps at small shapes in order, the rest at the real ones)"
        )
    again = run_clean(request, wanted)
    if not again.failure and all(
        disagreement(list(here), list(there), plan) is None
        for plan, here, there in zip(wanted, clean.statistics, again.statistics, strict=True)
    ):
        plan, index = at
        runs = [(run["seed"], step) for run in plan["runs"] for step in run["steps"]]
        seed, step = runs[index]
        message = (
            f"step {step}: with the same seed ({seed}) and batches the mechanism releases other values in a process without "
            "instrumentation than under observation, and the same ones again there"
        )
        return Comparison(problem=differs_unwatched(message, None, Strength.PROOF, step=step, seed=seed))
    return _by_samples(request, at[1])


def _by_samples(request: Request, at: int) -> Comparison:
    steps = min(_STEPS, request.config.total_steps)
    worst = (1.0, "")
    for seed in (request.seed + 1_000, request.seed + 1_000_000):
        wanted = sampling_plans(request, seed)
        clean, watched = run_clean(request, wanted), run_clean(request, wanted, watched=True)
        if clean.failure or watched.failure:
            what = clean.failure or watched.failure
            message = (
                f"runs with and without watching differ at call {at}, and could not be compared as samples: {what}"
            )
            return Comparison(problem=differs_unwatched(message, None, Strength.HEURISTIC))
        found = rejected(watched.statistics[0], clean.statistics[0], steps)
        if found is None:
            return Comparison(
                limit="it draws entropy of its own: releases with and without watching were compared as samples only, of "
                f"{_RUNS} runs of {steps} steps at small shapes, and no difference was found at level {LEVEL:g}"
            )
        worst = max(worst[0] if worst[1] else 0.0, found[0]), found[1]
    message = (
        f"the mechanism releases from another distribution when nothing watches it: {worst[1]} differs (two-sample "
        f"Kolmogorov-Smirnov, {_RUNS} runs each, p = {worst[0]:.2g}, level {LEVEL:g}, twice with fresh seeds)"
    )
    problem = differs_unwatched(message, None, Strength.STATISTICAL, p_value=worst[0], level=LEVEL, runs=_RUNS)
    return Comparison(problem=problem)


def run_clean(request: Request, wanted: list[dict[str, Any]], *, watched: bool = False) -> CleanAnswer:
    """Make the runs of some plans in a process of their own, without instrumentation; with ``watched``, under the tape."""
    with scratch_folder() as home:
        tree = select(ast.parse(request.text, filename=request.path), request.class_name)
        content = {
            "text": ast.unparse(tree), "path": request.path, "class_name": request.class_name, "plans": wanted,
            "memory_limit_mib": request.memory_limit_mib,
        }  # fmt: skip
        (home / "request.json").write_text(json.dumps(content), encoding="utf-8")
        answer = home / "answer.json"
        limit = _GRACE + sum(plan["seconds"] for plan in wanted)
        failure = _wait(home, answer, limit, watched)
        text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    return _decoded(text, failure, len(wanted))


def disagreement(watched: Statistics, clean: Statistics, plan: dict[str, Any]) -> int | None:
    """The first call at which the two differ beyond rounding; ``None`` if none does. Compares what both reached."""
    tolerance = _TOLERANCE[plan["dtype"]]
    for index, (here, there) in enumerate(zip(watched, clean, strict=False)):
        scale = max(abs(here[1]), abs(there[1]), 1e-300)
        apart = max(abs(a - b) for a, b in zip(here, there, strict=True))
        if not apart <= tolerance * scale:
            return index
    return None


def rejected(watched: Statistics, clean: Statistics, steps: int) -> tuple[float, str] | None:
    """The smallest p-value, with what it is of, if the samples differ at :data:`LEVEL`; ``None`` if they do not.

    Runs are independent; the ``2 * steps`` tests share the level.
    """
    from scipy.stats import ks_2samp

    tests = 2 * steps
    worst: tuple[float, str] | None = None
    for step in range(steps):
        for which, name in enumerate(("a combination of coordinates", "the norm")):
            here, there = (np.array([s[which] for s in sample[step::steps]]) for sample in (watched, clean))
            if min(here.size, there.size) < _RUNS:
                return 0.0, "fewer runs than asked for"
            p_value = float(ks_2samp(here, there, method="exact").pvalue)
            if worst is None or not p_value >= worst[0]:
                worst = p_value, f"{name} at step {step}"
    return worst if worst is not None and not worst[0] * tests >= LEVEL else None


def differs_unwatched(message: str, line: int | None, strength: Strength, **evidence: Any) -> Problem:
    """Rule DPA217. It keeps the audit from ending ACCEPTED; what it does unwatched was not read, so it is no witness."""
    return Problem("DPA217", Severity.MAJOR, strength, message, line, dict(evidence))


def _plan(request: Request, *, real: bool, runs: list[dict[str, Any]]) -> dict[str, Any]:
    config = request.config
    shapes = [list(shape if real else shrink(shape)) for shape in config.parameter_shapes]
    rows = config.realised_rows or (max(1, round(config.expected_batch)) if real else 6)
    constructor = [
        config.max_grad_norm, config.noise_multiplier, sum(math.prod(shape) for shape in shapes), config.dataset_size,
        config.batch_size, config.epochs, config.target_epsilon, config.target_delta,
    ]  # fmt: skip
    return {
        "shapes": shapes, "rows": rows, "dtype": "float32" if real else "float64", "bound": config.max_grad_norm,
        "steps_per_epoch": config.steps_per_epoch, "constructor": constructor, "seconds": _SECONDS, "runs": runs,
    }  # fmt: skip


def _wait(home: Path, answer: Path, limit: float, watched: bool) -> str:
    work = str(home / "work")
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {
        "PATH": os.defpath, "HOME": work, "TMPDIR": work, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    what = [str(Path(__file__).with_name("clean_run.py"))]
    if watched:
        what = ["-m", "dpaudit.probe.watched_run"]
        environment["PYTHONPATH"] = str(Path(dpaudit.__file__).resolve().parent.parent)
    errors = home / "errors.txt"
    with errors.open("wb") as stream:  # a file, which has a largest size, and not a pipe into this process's memory
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", *what, str(home / "request.json"), str(answer)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stream,
            env=environment, cwd=work, start_new_session=True,
        )  # fmt: skip
    try:
        process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return f"it did not end within {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode:
        with errors.open("rb") as stream:
            stream.seek(max(0, errors.stat().st_size - 4096))
            said = stream.read().decode("utf-8", "replace")
        last = said.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        return last[0][:300]
    return ""


def _decoded(text: str, failure: str, wanted: int) -> CleanAnswer:
    """The answer, checked: it was written by a process that ran the candidate."""
    if failure:
        return CleanAnswer((), failure)
    try:
        answers = json.loads(text)
        statistics = tuple([(float(a), float(b)) for a, b in answer] for answer in answers)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        return CleanAnswer((), f"its answer cannot be read: {error}")
    if len(statistics) != wanted:
        return CleanAnswer((), f"it answered {len(statistics)} of {wanted} plans")
    return CleanAnswer(statistics)
