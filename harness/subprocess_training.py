"""Train an untrusted candidate in a child process with a time limit.

The child gets its request and gives its result through files of its own folder, so nothing that a candidate prints is
ever parsed. Its environment holds a short list of variables: no secrets of the parent are inherited. The record is read
back from the run directory and every value is checked. The threat model is a mistaken or over-eager author: a hang, a
crash, an exit, a flood of output. It is not native malware.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dpaudit.contract import DataError, Form, RunConfig, RunRecord

from .candidate import read_candidate
from .recipe import Engine, Recipe
from .run_directory import read_run
from .run_json import config_to_json

_INHERITED = (
    "CUDA_VISIBLE_DEVICES",
    "DPAUDIT_DATA",
    "LANG",
    "LD_LIBRARY_PATH",
    "PATH",
    "SYSTEMROOT",
    "TMPDIR",
    "VIRTUAL_ENV",
)
_OUTPUT_TAIL = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFailure:
    """Why there is no finished run.

    Attributes:
        kind: ``crashed`` (the candidate's code raised), ``exited`` (the process ended without a result), ``timed_out``,
            or ``failed`` (data, disk, arguments).
        message: what happened, with the place.
        file, line: in the candidate's source; ``line`` is ``None`` where no line can be named.
        detail: end of the traceback or of the output, for a person.
    """

    kind: str
    message: str
    file: str
    line: int | None = None
    detail: str = ""


def train_in_subprocess(
    spec: str,
    preset_name: str,
    *,
    seed: int,
    out: Path | str,
    config: RunConfig,
    time_limit: float,
    device: str = "auto",
    data_root: Path | str | None = None,
    epochs: int | None = None,
    resume: bool = False,
    max_steps: int | None = None,
    form: Form | str | None = Form.PLAIN,
    recipe: Recipe | None = None,
    engine: Engine | None = None,
    hold_out: int = 0,
) -> RunRecord | TrainingFailure:
    """:func:`harness.train` in a process of its own, ended with all its descendants after ``time_limit`` seconds.

    Returns:
        The record, read back and checked against what was asked for; or why there is none.

    Raises:
        UsageError: the candidate's file cannot be read. Nothing was started.
    """
    candidate = read_candidate(spec)
    with tempfile.TemporaryDirectory(prefix="dpaudit-train-") as folder:
        request, result = Path(folder) / "request.json", Path(folder) / "result.json"
        values = {
            "spec": spec,
            "preset": preset_name,
            "seed": seed,
            "out": str(out),
            "config": config_to_json(config),
            "device": device,
            "data_root": None if data_root is None else str(data_root),
            "epochs": epochs,
            "resume": resume,
            "max_steps": max_steps,
            "form": None if form is None else str(form),
            "recipe": None if recipe is None else recipe.to_json(),
            "engine": None if engine is None else engine.to_json(),
            "hold_out": hold_out,
            "threads": torch.get_num_threads(),
        }
        request.write_text(json.dumps(values), encoding="utf-8")
        output = Path(folder) / "output.txt"
        status = _run_child([str(request), str(result)], output=output, time_limit=time_limit)
        tail = _tail(output)
        if status is None:
            return TrainingFailure(
                kind="timed_out",
                message=f"training: {candidate.path}: expected an end within {time_limit:g} s, the process was still "
                "running and was stopped; raise the time limit, or find what hangs",
                file=candidate.path,
                detail=tail,
            )
        outcome = _read_outcome(result)
    if outcome is None:
        return TrainingFailure(
            kind="exited",
            message=f"training: {candidate.path}: the process ended ({_describe(status)}) before training did",
            file=candidate.path,
            detail=tail,
        )
    if outcome["kind"] != "trained":
        return TrainingFailure(
            kind=outcome["kind"],
            message=outcome["message"],
            file=candidate.path,
            line=outcome["line"],
            detail=outcome["trace"],
        )
    return _checked_record(Path(out), file=candidate.path, sha256=candidate.sha256, config=config, seed=seed)


def _run_child(arguments: list[str], *, output: Path, time_limit: float) -> int | None:
    """Exit status, or ``None`` after a time-out. The child leads its own group, so its descendants end with it."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["HOME"] = str(output.parent)  # nothing of the user's own settings or credentials is found by default
    environment["PYTHONPATH"] = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
    with output.open("wb") as stream:
        child = subprocess.Popen(
            [sys.executable, "-m", "harness.child", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            return child.wait(timeout=time_limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(child)


def _end_group(child: "subprocess.Popen[bytes]") -> None:
    """Whatever is left of the child and of what it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def _read_outcome(path: Path) -> dict[str, Any] | None:
    """What the child wrote, or ``None`` if that is nothing usable."""
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(outcome, dict) or set(outcome) != {"kind", "message", "line", "trace"}:
        return None
    typed = isinstance(outcome["message"], str) and isinstance(outcome["trace"], str)
    known = outcome["kind"] in ("trained", "crashed", "failed")
    return outcome if typed and known and (outcome["line"] is None or type(outcome["line"]) is int) else None


def _checked_record(out: Path, *, file: str, sha256: str, config: RunConfig, seed: int) -> RunRecord | TrainingFailure:
    try:
        record = read_run(out)
    except DataError as error:
        return TrainingFailure(kind="failed", message=f"training: the run cannot be read back: {error}", file=file)
    if (record.source_sha256, record.config, record.seed) != (sha256, config, seed):
        return TrainingFailure(
            kind="failed",
            message=f"training: {out} holds a run of another source, configuration or seed than was asked for",
            file=file,
        )
    return record


def _tail(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _OUTPUT_TAIL))
        return stream.read().decode("utf-8", errors="replace")


def _describe(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
