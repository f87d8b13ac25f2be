"""What candidate code may not do in the worker: start processes, end the process, write elsewhere, use the network.

An audit hook refuses these actions and remembers that they were tried. It stops mistakes and shortcuts, not native
malware (see the trust section of the documentation).
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_REFUSED = {
    "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.spawn", "os.system", "os.startfile", "os.kill",
    "os.killpg", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.chown", "os.link", "os.symlink",
    "os.truncate", "subprocess.Popen", "pty.spawn", "socket.connect", "socket.bind",
    "socket.getaddrinfo", "socket.sendto", "signal.pthread_kill", "ctypes.dlopen", "resource.setrlimit",
}  # fmt: skip
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Refused(PermissionError):
    """An action that candidate code may not take."""


class EndedProcess(BaseException):
    """The candidate called ``os._exit`` or ``os.abort``."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A refused action and the candidate's line that led to it."""

    action: str
    line: int | None


class Guard:
    """Refuses actions while it is on.

    Args:
        path: the candidate's file name.
        folder: the only folder in which files may be written.
    """

    def __init__(self, path: str, folder: Path) -> None:
        self.path = path
        self.folder = str(folder.resolve()) + os.sep
        self.attempts: list[Attempt] = []
        self._on = False

    def install(self) -> None:
        """Start to refuse. Cannot be undone in this process."""
        self._on = True
        sys.addaudithook(self._hook)
        os._exit = self._ending("os._exit")  # type: ignore[assignment]
        os.abort = self._ending("os.abort")  # type: ignore[assignment]

    def off(self) -> None:
        """Stop to refuse: the candidate will not run again."""
        self._on = False

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._open(*args[:3])
        elif event in _REFUSED:
            self._refuse(event)

    def _open(self, path: Any, mode: Any, flags: Any) -> None:
        writes = bool(flags & _WRITE_FLAGS) if isinstance(flags, int) else any(c in str(mode) for c in "wax+")
        if not writes or not isinstance(path, str | bytes):
            return
        target = os.path.realpath(os.fsdecode(path))
        if target != "/dev/null" and not target.startswith(self.folder):
            self._refuse(f"opening {os.fsdecode(path)!r} for writing")

    def _refuse(self, action: str) -> None:
        line = self._line()
        if line is None:
            return  # not the candidate's doing
        attempt = Attempt(action, line)
        if attempt not in self.attempts and len(self.attempts) < 20:
            self.attempts.append(attempt)
        raise Refused(f"{action} is refused while a mechanism is examined")

    def _ending(self, name: str) -> Callable[..., None]:
        def refuse(*args: Any) -> None:
            raise EndedProcess(f"{name}({', '.join(map(repr, args))})")

        return refuse

    def _line(self) -> int | None:
        frame: FrameType | None = sys._getframe(2)
        while frame is not None:
            if frame.f_code.co_filename == self.path:
                return frame.f_lineno
            frame = frame.f_back
        return None
