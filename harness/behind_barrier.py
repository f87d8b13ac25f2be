"""The kernel barrier for a process that trains (:mod:`dpaudit.contract.kernel_barrier`).

A barrier binds the thread that raises it and those that it starts. Importing numpy and torch starts threads; therefore the
child goes on in a fork, which has one, and only the fork ever holds candidate code. What the harness itself must write outside
the run (a decoded or transformed data set, a download) is written before that, by a fork of its own.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from dpaudit.contract.kernel_barrier import raise_barrier

from .atomic_files import make_directory

UNCONFINED = (
    "Trainings on {why} ran without the kernel barrier: the guard alone, in the mechanism's own interpreter, held them."
)


def on_cuda(device: str) -> bool:
    """Whether a training on ``device`` uses CUDA."""
    return device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())


def without_barrier(device: str, *, compiled: bool = False) -> str:
    """Why a training of that kind cannot run behind the barrier, in a few words; empty where it can."""
    if sys.platform != "linux":
        return "another system than Linux"
    if on_cuda(device):
        return "a CUDA device"  # its driver opens devices, maps shared memory and starts programs as it sees fit
    return "compiled gradients" if compiled else ""  # a compiler is a program that is started


def go_on_in_fork() -> None:
    """Return in a fork with one thread; this process waits for it and ends as it ends, by a signal too."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        return
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def write_caches(load: Callable[[], object]) -> None:
    """Load a data set in a fork and forget it: what it keeps on disk is there afterwards. Errors are left to the real load."""
    pid = os.fork()
    if pid == 0:
        try:
            load()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def confine_to(*folders: Path) -> None:
    """Raise the barrier: files are written below the folders only, from now on.

    Raises:
        RuntimeError: the kernel offers it and refuses it, or this process has several threads. No candidate may run then.
        DataError: a folder cannot be created.
    """
    for folder in folders:
        make_directory(folder)
    threads = Path("/proc/self/task")
    if threads.is_dir() and len(list(threads.iterdir())) != 1:
        raise RuntimeError("the kernel barrier binds one thread, and this process has several; nothing was run")
    try:
        raise_barrier(*folders)
    except OSError as error:
        raise RuntimeError(f"the kernel refuses the barrier that it offers ({error}); nothing was run") from error
