"""What the kernel refuses to a process that runs candidate code: the guard's rules again, below the interpreter.

The guard (:mod:`dpaudit.contract.guard`) lives in the candidate's own interpreter and names lines; a candidate that reaches
into the interpreter can switch it off. This cannot be switched off. On Linux, :func:`raise_barrier` asks for

- Landlock: files are written, made, renamed and removed below one folder only, nothing of another process is read under
  ``/proc``, nothing is executed, no TCP, no signal and no ptrace to a process outside;
- a seccomp filter: no new process, no new session or group (so that the kill of the group reaches everything), no
  signal to another process, no reading or writing of another process's memory, no socket, no change of modes, owners or limits,
  no shared anonymous memory (which the memory limit would not count);
- the first place in line when the machine runs out of memory.

What the kernel at hand does not offer is left out and named by :func:`barrier`. Standard library only, so that a process
which may import nothing of dpaudit can load this file by itself.

Sources: linux/landlock.h, linux/seccomp.h and linux/filter.h (kernel interfaces, stable since their introduction); call numbers
from the kernel's tables for x86_64 and for the generic table that aarch64 uses.
"""

import contextlib
import ctypes
import functools
import os
import platform
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

# ---- Landlock -----------------------------------------------------------------------------------------------------------

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _REMOVE_DIR, _REMOVE_FILE = 1 << 0, 1 << 1, 1 << 4, 1 << 5
_READ = (1 << 2) | (1 << 3)  # files, folders
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_MAKE_OTHERS = (1 << 6) | (1 << 9) | (1 << 10) | (1 << 11) | (1 << 12)  # devices, sockets, pipes, links
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_BASE = _EXECUTE | _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_OTHERS
_NO_TCP = 0b11
_SCOPES = 0b11  # abstract sockets, signals
_PATH_BENEATH = 1


def _handled(abi: int) -> int:
    return _BASE | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)


def _landlock(folders: tuple[Path, ...], abi: int) -> None:
    handled = _handled(abi)
    attributes = struct.pack("=QQQ", handled, _NO_TCP, _SCOPES)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    ruleset = _call(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for folder in folders:
            _allow(ruleset, folder, handled & ~(_EXECUTE | _MAKE_OTHERS))
        _allow(ruleset, Path(os.devnull), _WRITE_FILE | (_TRUNCATE & handled))
        for path in _readable():
            # An entry that has gone, or that is no folder, is no loss: what is not allowed stays refused.
            with contextlib.suppress(OSError):
                _allow(ruleset, path, _READ if path.is_dir() else _READ & ~(1 << 3))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _readable() -> Iterator[Path]:
    """All but the processes: the environment of the parent, say, may hold what its workers must not see."""
    yield from (entry for entry in Path("/").iterdir() if entry.name != "proc")
    yield from (entry for entry in Path("/proc").iterdir() if not entry.name.isdigit() and not entry.is_symlink())
    yield Path(f"/proc/{os.getpid()}")


def _allow(ruleset: int, path: Path, rights: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


# ---- seccomp ------------------------------------------------------------------------------------------------------------

_ARCHITECTURES = {
    "x86_64": (0xC000003E, {
        "fork": 57, "vfork": 58, "clone": 56, "clone3": 435, "execve": 59, "execveat": 322, "setsid": 112, "setpgid": 109,
        "kill": 62, "tkill": 200, "tgkill": 234, "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "pidfd_send_signal": 424,
        "pidfd_open": 434, "pidfd_getfd": 438, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311,
        "socket": 41, "chmod": 90, "fchmod": 91, "fchmodat": 268, "fchmodat2": 452, "chown": 92, "fchown": 93, "lchown": 94,
        "fchownat": 260, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198,
        "fremovexattr": 199, "prlimit64": 302, "setrlimit": 160, "mmap": 9, "io_uring_setup": 425, "unshare": 272,
        "setns": 308, "mount": 165, "umount2": 166, "chroot": 161, "pivot_root": 155, "bpf": 321, "perf_event_open": 298,
        "init_module": 175, "finit_module": 313, "reboot": 169, "kexec_load": 246, "shmget": 29, "utimensat": 280,
        "utime": 132, "utimes": 235, "futimesat": 261,
    }),
    "aarch64": (0xC00000B7, {
        "clone": 220, "clone3": 435, "execve": 221, "execveat": 281, "setsid": 157, "setpgid": 154, "kill": 129, "tkill": 130,
        "tgkill": 131, "rt_sigqueueinfo": 138, "rt_tgsigqueueinfo": 240, "pidfd_send_signal": 424, "pidfd_open": 434,
        "pidfd_getfd": 438, "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "socket": 198, "fchmod": 52,
        "fchmodat": 53, "fchmodat2": 452, "fchownat": 54, "fchown": 55, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
        "removexattr": 14, "lremovexattr": 15, "fremovexattr": 16, "prlimit64": 261, "setrlimit": 164, "mmap": 222,
        "io_uring_setup": 425, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "chroot": 51, "pivot_root": 41,
        "bpf": 280, "perf_event_open": 241, "init_module": 105, "finit_module": 273, "reboot": 142, "kexec_load": 104,
        "shmget": 194, "utimensat": 88,
    }),
}  # fmt: skip
_LOAD, _JUMP_IF, _JUMP_FROM, _JUMP_SET, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _REFUSE, _NO_SUCH_CALL, _NO_MEMORY = 0x7FFF0000, 0x00050000 | 1, 0x00050000 | 38, 0x00050000 | 12
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32 = 0x40000000
_CLONE_THREAD = 0x00010000
_SHARED_ANONYMOUS = 0x01 | 0x20
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER_MODE = 38, 22, 2
_CONDITIONAL = frozenset({"clone", "clone3", "kill", "tgkill", "rt_tgsigqueueinfo", "prlimit64", "mmap"})

Instruction = tuple[int, int, int, int]


def _filter(pid: int, machine: str) -> list[Instruction]:
    """The program, for a process of that number: calls that are not named go through."""
    architecture, numbers = _ARCHITECTURES[machine]
    low = [_ARGUMENTS + 8 * index for index in range(6)]
    program: list[Instruction] = [
        (_LOAD, 0, 0, _ARCHITECTURE), (_JUMP_IF, 1, 0, architecture), (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _NUMBER), (_JUMP_FROM, 0, 1, _X32), (_RETURN, 0, 0, _REFUSE),
    ]  # fmt: skip
    for name, number in numbers.items():
        if name not in _CONDITIONAL:
            program += [(_JUMP_IF, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]

    def unless(name: str, *body: Instruction) -> None:
        program.extend([(_JUMP_IF, 0, len(body), numbers[name]), *body])

    unless("clone3", (_RETURN, 0, 0, _NO_SUCH_CALL))  # the C library falls back to clone, whose flags can be read
    unless(
        "clone",
        (_LOAD, 0, 0, low[0]),
        (_JUMP_SET, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    )
    for name in ("kill", "tgkill", "rt_tgsigqueueinfo"):
        unless(name, (_LOAD, 0, 0, low[0]), (_JUMP_IF, 0, 1, pid), (_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE))
    unless(
        "prlimit64",
        (_LOAD, 0, 0, low[2]), (_JUMP_IF, 0, 3, 0), (_LOAD, 0, 0, low[2] + 4), (_JUMP_IF, 0, 1, 0), (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    )  # fmt: skip
    unless(
        "mmap",
        (_LOAD, 0, 0, low[3]), (_AND, 0, 0, _SHARED_ANONYMOUS), (_JUMP_IF, 0, 1, _SHARED_ANONYMOUS),
        (_RETURN, 0, 0, _NO_MEMORY), (_RETURN, 0, 0, _ALLOW),
    )  # fmt: skip
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _seccomp(pid: int, machine: str) -> None:
    program = b"".join(struct.pack("=HBBI", *instruction) for instruction in _filter(pid, machine))
    held = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    if _libc().prctl(_PR_SET_SECCOMP, _FILTER_MODE, header, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no seccomp filter")


# ---- both ---------------------------------------------------------------------------------------------------------------


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: int | bytes | None) -> int:
    plain = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    answer = _libc().syscall(ctypes.c_long(number), *plain)
    if answer < 0:
        raise OSError(ctypes.get_errno(), f"system call {number}: {os.strerror(ctypes.get_errno())}")
    return int(answer)


@functools.cache
def _landlock_version() -> int:
    """0 where there is none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def barrier() -> tuple[str, ...]:
    """What a kernel barrier on this machine would lack, in words; empty where it is complete."""
    if sys.platform != "linux":
        return (f"no kernel barrier on {sys.platform}",)
    lacks = []
    version = _landlock_version()
    if version == 0:
        lacks.append("the kernel offers no Landlock: files are guarded by the interpreter alone")
    elif version < 3:
        lacks.append(f"Landlock of version {version}: files outside could be cut short")
    if platform.machine() not in _ARCHITECTURES:
        lacks.append(f"no seccomp filter for {platform.machine()}: processes are guarded by the interpreter alone")
    elif not Path("/proc/sys/kernel/seccomp").is_dir():
        lacks.append("the kernel offers no seccomp filters: processes are guarded by the interpreter alone")
    return tuple(lacks)


def raise_barrier(*folders: Path) -> None:
    """Confine this process and its future threads, for good, as far as the kernel can; see :func:`barrier`.

    Args:
        folders: the only ones below which files may be written afterwards. Descriptors that are open already stay usable.

    Call it with one thread, after everything that has to be opened for writing was opened.

    Raises:
        OSError: the kernel offers a part and refuses to apply it. Then no candidate may run.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    version, machine = _landlock_version(), platform.machine()
    filters = machine in _ARCHITECTURES and Path("/proc/sys/kernel/seccomp").is_dir()
    if (version or filters) and _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not take PR_SET_NO_NEW_PRIVS")
    if version:
        _landlock(folders, version)
    if filters:
        _seccomp(os.getpid(), machine)
