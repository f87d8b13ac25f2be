"""A process of its own for candidate code: scrubbed environment, temporary folder, answers as lines of JSON, killed as a group.

One mechanism for every part of the audit that runs a candidate. What the process may do inside is the guard's business
(:mod:`dpaudit.contract.guard`), what it may use that of :mod:`dpaudit.probe.worker`. On Linux it is a fork of a process that has
imported torch already (:mod:`dpaudit.probe.fork_server`); elsewhere, and with ``DPAUDIT_FORK_SERVER=0``, an interpreter of
its own.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import dpaudit
from dpaudit.contract import AuditBrokenError

from .fork_server import ForkedWorker, ForkServer, ServerEnded
from .work_clock import WorkBudget

START_LIMIT = 180.0
"""Seconds for the interpreter and torch to start; not the candidate's time."""

_ANSWER_LIMIT = 2**26
_TICK_SECONDS = 0.2
_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")


class IsolatedProcess:
    """``MODULE.main()`` with the arguments, and nothing inherited that could be secret. Use as a context manager.

    Guarantee: at the end of the block the process and all that it started in its session are dead.

    Args:
        module: a module of this package with a ``main``.
        work: folder for its files; also its home and temporary folder.
        orders: whether it takes orders on standard input; otherwise that is empty.

    Attributes:
        hung: whether the last wait for an answer ended because time was up.

    Raises:
        AuditBrokenError: it cannot be started.
    """

    def __init__(self, module: str, arguments: Sequence[str], work: Path, *, orders: bool = False) -> None:
        self.hung = False
        self._buffer = b""
        self._exit_code: int | None = None
        self._process = _start(module, arguments, work, orders=orders)

    def __enter__(self) -> "IsolatedProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def order(self, message: Mapping[str, Any]) -> bool:
        """Send one line of JSON; whether it could be sent."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        return True

    def answer(self, limit: float, *, tick: Callable[[], None] | None = None) -> dict[str, Any] | None:
        """The next answer; ``None`` after ``limit`` seconds (then :attr:`hung`), or at the end of the process.

        Lines that are no JSON object are passed over; what floods the pipe gets no more time than what is silent. ``tick`` is
        called about five times a second while waiting.
        """
        assert self._process.stdout is not None
        self.hung = False
        deadline = time.monotonic() + limit
        while True:
            while b"\n" in self._buffer and time.monotonic() <= deadline:
                line, self._buffer = self._buffer.split(b"\n", 1)
                with contextlib.suppress(ValueError, RecursionError):
                    message = json.loads(line)
                    if isinstance(message, dict):
                        return message
            left = max(0.0, deadline - time.monotonic())
            if left == 0 and b"\n" in self._buffer:
                self.hung = True
                return None
            ready, _, _ = select.select(
                [self._process.stdout], [], [], left if tick is None else min(left, _TICK_SECONDS)
            )
            if tick is not None:
                tick()
            if not ready and left > 0 and tick is not None:
                continue
            if not ready:
                self.hung = True
                return None
            chunk = os.read(self._process.stdout.fileno(), 65536)
            if not chunk or len(self._buffer) > _ANSWER_LIMIT:
                return None
            self._buffer += chunk

    def answer_by(self, budget: WorkBudget) -> dict[str, Any] | None:
        """The next answer; ``None`` when the budget is used up (then :attr:`hung`), or at the end of the process."""
        while True:
            message = self.answer(budget.left())
            # Without an answer and with time left, it was kept waiting by others.
            if message is not None or not self.hung or budget.left() == 0:
                return message

    def stop(self) -> int:
        """Kill it and its whole group; its exit code (negative: the signal that ended it)."""
        if self._exit_code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._exit_code = self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
        return self._exit_code


def _start(
    module: str, arguments: Sequence[str], work: Path, *, orders: bool
) -> "ForkedWorker | subprocess.Popen[bytes]":
    if sys.platform != "linux" or os.environ.get("DPAUDIT_FORK_SERVER") == "0":
        return subprocess.Popen(
            [sys.executable, "-P", "-s", "-m", module, *arguments],
            stdin=subprocess.PIPE if orders else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment() | {"HOME": str(work), "TMPDIR": str(work)},
            cwd=work,
            start_new_session=True,
        )
    for last in (False, True):
        try:
            return _server().launch(module, arguments, work, orders=orders, limit=START_LIMIT)
        except (OSError, RuntimeError) as error:
            if last or not isinstance(error, ServerEnded):
                raise AuditBrokenError(
                    f"the worker {module} could not be started by {sys.executable}: {error}; see that torch can be imported"
                ) from error
    raise AssertionError("unreachable")


_servers: dict[tuple[int, tuple[tuple[str, str], ...]], ForkServer] = {}
"""By process and environment: a fork of this process, and one whose environment has changed, get a server of their own."""
_starting = threading.Lock()


def _server() -> ForkServer:
    environment = _environment()
    key = (os.getpid(), tuple(sorted(environment.items())))
    with _starting:
        if key in _servers and not _servers[key].alive:
            _servers.pop(key).close()
        if key not in _servers:
            _servers[key] = ForkServer(environment)
        return _servers[key]


@atexit.register
def _end_servers() -> None:
    for (process, _), server in _servers.items():
        if process == os.getpid():
            server.close()


def _environment() -> dict[str, str]:
    """What workers see of the environment, but for their home and temporary folder."""
    root = str(Path(dpaudit.__file__).resolve().parent.parent)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    paths = [root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    return environment | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.defpath,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
