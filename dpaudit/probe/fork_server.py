"""A process that has imported what the workers need and forks one for every request: no audit waits for torch five times.

The server (``python -m dpaudit.probe.fork_server FD``) never runs candidate code; each candidate gets a fork of its own, so
nothing that one does can reach another. It starts with the first request, in a session of its own and with the scrubbed
environment of the workers, and ends when its parent does, with all its forks. It has one thread: a fork copies no lock that
another thread holds.

Messages are packets of JSON. Parent to server: ``{"module", "arguments", "work"}`` with the worker's standard input, its
standard output and one end of a socket of its own. On that socket the server says ``{"pid": n}`` or ``{"error": text}``, and
``{"exit": code}`` at the end. A dead worker stays a zombie until its parent closes the socket, so that its number cannot be
given to another process while somebody may still send it a signal.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

_PACKET = 65_536
_exit = os._exit
"""The real one: workers replace it in ``os`` before a candidate can see it."""


# ---- the parent's side -------------------------------------------------------------------------------------------------


class ForkedWorker:
    """A forked worker as its parent sees it: the part of ``subprocess.Popen`` that workers need.

    Attributes:
        pid: also its process group and session.
        stdin: what it takes orders from, or ``None``.
        stdout: what its answers come from.
    """

    def __init__(self, pid: int, control: socket.socket, stdin: int | None, stdout: int) -> None:
        self.pid = pid
        self.stdin = None if stdin is None else os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        self._control = control
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it), or ``None`` while it runs."""
        return self._take(blocking=False)

    def wait(self) -> int:
        """Wait until it has ended, let go of it, and return its exit code."""
        code = self._take(blocking=True)
        self._control.close()
        return -signal.SIGKILL if code is None else code

    def _take(self, *, blocking: bool) -> int | None:
        if self._code is None:
            self._control.setblocking(blocking)
            try:
                packet = self._control.recv(_PACKET)
            except BlockingIOError:
                return None
            except OSError:
                packet = b""
            # An empty packet: the server itself has ended, and with it all workers.
            self._code = int(json.loads(packet)["exit"]) if packet else -signal.SIGKILL
        return self._code


class ServerEnded(RuntimeError):
    """The server is gone: another one may do better."""


class ForkServer:
    """The parent's handle on one server. ``launch`` may be called from several threads.

    Raises:
        OSError: the server cannot be started.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "dpaudit.probe.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._socket = ours

    @property
    def alive(self) -> bool:
        """Whether it still takes requests."""
        return self._process.poll() is None

    def launch(self, module: str, arguments: Sequence[str], work: Path, *, orders: bool, limit: float) -> ForkedWorker:
        """Fork a worker that runs ``module.main()`` in ``work``.

        Raises:
            ServerEnded: the server is gone.
            RuntimeError: the module cannot be imported, or the server did not answer within ``limit`` seconds.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        input_read, input_write = os.pipe() if orders else (os.open(os.devnull, os.O_RDONLY), None)
        output_read, output_write = os.pipe()
        request = json.dumps({"module": module, "arguments": list(arguments), "work": str(work)}).encode()
        try:
            socket.send_fds(self._socket, [request], [input_read, output_write, theirs.fileno()])
            answer = _first_answer(ours, theirs, limit)
        except OSError as error:
            answer = {"ended": str(error)}
        finally:
            os.close(input_read)
            os.close(output_write)
            theirs.close()
        if "pid" in answer:
            return ForkedWorker(int(answer["pid"]), ours, input_write, output_read)
        ours.close()
        os.close(output_read)
        if input_write is not None:
            os.close(input_write)
        if "ended" in answer:
            raise ServerEnded(f"the fork server has ended ({answer['ended']})")
        raise RuntimeError(str(answer["error"]))

    def close(self) -> None:
        """End the server and all its workers."""
        self._socket.close()
        self._process.wait()


def _first_answer(ours: socket.socket, theirs: socket.socket, limit: float) -> dict[str, Any]:
    theirs.close()  # the server has its own copy by now, so its end shows as an empty packet
    ours.settimeout(limit)
    try:
        packet = ours.recv(_PACKET)
    except TimeoutError:
        return {"error": f"no answer from the fork server within {limit:g} s"}
    answer: dict[str, Any] = json.loads(packet) if packet else {"ended": "no answer"}
    return answer


# ---- the server --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Worker:
    pid: int
    control: socket.socket
    announced: bool = False


class _Server:
    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._workers: dict[int, _Worker] = {}  # by the descriptor of their socket
        self._modules: set[str] = set()
        self._woken, waking = os.pipe()
        for end in (self._woken, waking):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
        self._descriptors = [requests.fileno(), self._woken, waking]
        self._selector = selectors.DefaultSelector()
        self._selector.register(requests, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the parent has closed its end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._requests:
                    message, descriptors, _, _ = socket.recv_fds(self._requests, _PACKET, 3)
                    if not message:
                        self._end()
                        return
                    self._serve(json.loads(message), descriptors)
                elif key.fileobj == self._woken:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, 4096)
                elif key.fd in self._workers:
                    self._bury(self._workers[key.fd])
            self._announce()

    def _serve(self, request: dict[str, Any], descriptors: list[int]) -> None:
        standard_input, standard_output, end = descriptors
        control = socket.socket(fileno=end)
        try:
            self._import(request["module"])
        except BaseException:
            with contextlib.suppress(OSError):
                control.send(json.dumps({"error": traceback.format_exc(limit=-4)[-2000:]}).encode())
            control.close()
            os.close(standard_input)
            os.close(standard_output)
            return
        pid = os.fork()
        if pid == 0:
            self._become(request, standard_input, standard_output, control)
        os.close(standard_input)
        os.close(standard_output)
        self._workers[control.fileno()] = _Worker(pid, control)
        self._selector.register(control, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            control.send(json.dumps({"pid": pid}).encode())

    def _import(self, name: str) -> None:
        """Import a worker module and what it says it will need (``PRELOAD``); keep the collector off those pages."""
        if name in self._modules:
            return
        module = importlib.import_module(name)
        for needed in getattr(module, "PRELOAD", ()):
            importlib.import_module(needed)
        self._modules.add(name)
        gc.collect()
        gc.freeze()

    def _become(
        self, request: dict[str, Any], standard_input: int, standard_output: int, control: socket.socket
    ) -> NoReturn:
        """Turn this fork into the worker. Nothing of the server, nor of another worker, stays open."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.dup2(standard_input, 0)
            os.dup2(standard_output, 1)
            self._selector.close()
            control.close()
            for worker in self._workers.values():
                worker.control.close()
            for descriptor in (*self._descriptors, standard_input, standard_output):
                os.close(descriptor)
            os.chdir(request["work"])
            os.environ.update(HOME=request["work"], TMPDIR=request["work"])
            module = sys.modules[request["module"]]
            sys.argv = [str(module.__file__), *request["arguments"]]
            _fresh_randomness()
            module.main()
            code = 0
        except SystemExit as ending:
            code = ending.code if isinstance(ending.code, int) else 1
        finally:
            _exit(code)

    def _announce(self) -> None:
        """Tell the parents of workers that have ended."""
        for worker in self._workers.values():
            if not worker.announced:
                ended = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is not None:
                    worker.announced = True
                    code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                    with contextlib.suppress(OSError):
                        worker.control.send(json.dumps({"exit": code}).encode())

    def _bury(self, worker: _Worker) -> None:
        """The parent has let go of a worker: make sure that it and its session are dead."""
        self._selector.unregister(worker.control)
        del self._workers[worker.control.fileno()]
        worker.control.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
        os.waitpid(worker.pid, 0)

    def _end(self) -> None:
        for worker in tuple(self._workers.values()):
            self._bury(worker)


def _fresh_randomness() -> None:
    """As in a new process: what seeds itself from the operating system does so again."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


if __name__ == "__main__":
    _Server(socket.socket(fileno=int(sys.argv[1]))).run()
