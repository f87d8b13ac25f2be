"""The parent's side of the player: start it, give orders, check what comes back, stop it.

The candidate never runs here. Its process has a scrubbed environment, a temporary folder, and is killed with its whole group
when an order takes too long and at the end.
"""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dpaudit
from dpaudit.contract import AuditBrokenError, RunConfig
from dpaudit.probe import MechanismSource

from .game import Setup, config_to_plain, setup_to_plain

Floats = NDArray[np.float64]

_START_LIMIT = 180.0
_ANSWER_LIMIT = 2**20
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")


class CandidateFailed(Exception):
    """The candidate raised, hung, ended its process, or released something that is not finite.

    Attributes:
        rule: id of the rule broken. line: in the candidate's source, if known.
    """

    def __init__(self, rule: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.line = line


class Stage:
    """A worker process that plays games with one candidate. Use as a context manager.

    Args:
        patience: seconds that an order may take beyond the time it was given.
    """

    def __init__(self, source: MechanismSource, config: RunConfig, *, patience: float = 20.0) -> None:
        self._source = source
        self._config = config
        self._patience = patience
        self._folder = tempfile.TemporaryDirectory(prefix="dpaudit-")
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = b""

    def __enter__(self) -> "Stage":
        home = Path(self._folder.name)
        (home / "work").mkdir()
        request = {
            "text": self._source.text,
            "path": self._source.path,
            "class_name": self._source.class_name,
            "config": config_to_plain(self._config),
        }
        (home / "request.json").write_text(json.dumps(request), encoding="utf-8")
        self._process = _start(home)
        answer = self._next(_START_LIMIT)
        if answer is None or "ready" not in answer:
            self._stop()
            raise AuditBrokenError(
                "attack: the player did not start; see that torch can be imported by " + sys.executable
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def alive(self) -> bool:
        """Whether the worker can take another order."""
        return self._process is not None and self._process.poll() is None

    def play(self, setup: Setup, *, world: int, trials: int, seed: int, until: float) -> tuple[Floats, float]:
        """(releases, seconds): see :meth:`player.Player.play`. At least one trial, at most ``trials``.

        Raises:
            CandidateFailed: no usable releases came back through the candidate's doing.
            AuditBrokenError: through ours.
        """
        process = self._process
        if process is None or process.stdin is None:
            raise AuditBrokenError("attack: the player is not running")
        order = {
            "setup": setup_to_plain(setup), "world": world, "trials": trials, "seed": seed, "until": until,
        }  # fmt: skip
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise CandidateFailed("DPA013", "the mechanism ended its process") from None
        answer = self._next(until + self._patience)
        if answer is None:
            hung = process.poll() is None
            self._stop()
            what = f"did not return within {until + self._patience:g} s" if hung else "ended its process"
            raise CandidateFailed("DPA013", f"the mechanism {what}")
        if "problem" in answer:
            rule, message, line = answer["problem"]
            raise CandidateFailed(str(rule), str(message), line if isinstance(line, int) else None)
        if "fault" in answer:
            raise AuditBrokenError(f"attack: the player failed: {answer['fault']}")
        return self._load(str(answer["file"]), setup, trials), float(answer["seconds"])

    def _load(self, name: str, setup: Setup, trials: int) -> Floats:
        path = Path(self._folder.name) / "work" / Path(name).name
        try:
            played: Floats = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise AuditBrokenError(f"attack: the player's file cannot be read: {error}") from None
        path.unlink()
        if played.ndim != 3 or not 1 <= len(played) <= trials or played.shape[1] != setup.steps:
            raise AuditBrokenError(f"attack: the player sent an array of shape {played.shape}")
        if not np.isfinite(played).all():
            raise CandidateFailed("DPA014", "the released update is not finite")
        return played.astype(np.float64)

    def _next(self, limit: float) -> dict[str, Any] | None:
        """The next answer, or ``None`` at the end of the time or of the process. What is no answer is passed over."""
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                with contextlib.suppress(ValueError):
                    message = json.loads(line)
                    if isinstance(message, dict):
                        return message
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            if not chunk or len(self._buffer) > _ANSWER_LIMIT:
                return None
            self._buffer += chunk

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        self._folder.cleanup()


def _start(home: Path) -> "subprocess.Popen[bytes]":
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    root = str(Path(dpaudit.__file__).resolve().parent.parent)
    work = str(home / "work")
    environment |= {
        "PYTHONPATH": os.pathsep.join([root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]),
        "PATH": os.defpath,
        "HOME": work,
        "TMPDIR": work,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "dpaudit.empirical.player", str(home / "request.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=work,
        start_new_session=True,
    )
