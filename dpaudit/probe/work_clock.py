"""Time limits that the load of the machine does not reach: a worker's limit is on what it works, not on what it waits.

A limit by the wall clock would let other programs decide between ACCEPTED and INCONCLUSIVE. Limits are on processor time instead;
a candidate that sleeps works little, so waiting counts as well, a third of it.
"""

import os
import time
from pathlib import Path

PATIENCE = 3.0
"""Seconds of the wall clock that count as one of work."""


def worked() -> float:
    """Seconds that this process has worked. Differences alone have a meaning; to be used inside a worker."""
    return max(time.process_time(), time.monotonic() / PATIENCE - _offset)


def begin() -> None:
    """Let waiting count from now on: to be called when a worker starts, which may be a fork of an old process."""
    global _offset
    _offset = time.monotonic() / PATIENCE - time.process_time()


_offset = 0.0
begin()


class WorkBudget:
    """What is left of another process's time, from now on.

    Where its processor time cannot be read (no ``/proc``), the wall clock is all that counts.

    Args:
        pid: of the process.
        seconds: of processor time; and :data:`PATIENCE` times as many of the wall clock.
    """

    def __init__(self, pid: int, seconds: float) -> None:
        self._pid, self._seconds = pid, seconds
        self._began = time.monotonic()
        self._work_then = _work_of(pid)

    def left(self) -> float:
        """Seconds to wait before it makes sense to look again; 0 when the time is used up."""
        waited = time.monotonic() - self._began
        now = _work_of(self._pid)
        spent = waited if now is None or self._work_then is None else now - self._work_then
        return max(0.0, min(self._seconds - spent, PATIENCE * self._seconds - waited))


def _work_of(pid: int) -> float | None:
    """Processor seconds of a process, user and system; ``None`` if it cannot be known."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        user, system = text.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
