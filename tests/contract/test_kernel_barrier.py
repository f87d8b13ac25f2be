"""What the kernel refuses once the barrier is up, tried below the guard: no audit hook stands in the way here."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

from dpaudit.contract.kernel_barrier import _ARCHITECTURES, _filter, barrier

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COMPLETE = pytest.mark.skipif(bool(barrier()), reason=f"this machine: {'; '.join(barrier())}")

HEAD = """
import ctypes, json, mmap, os, resource, signal, socket, subprocess, sys, threading
from pathlib import Path
from dpaudit.contract.kernel_barrier import raise_barrier
outside, parent = sys.argv[1], os.getppid()
libc = ctypes.CDLL(None, use_errno=True)
kept = open("before", "w")
raise_barrier(Path.cwd())


def outcome(action):
    try:
        value = action()
        return "refused" if value == -1 else "done"
    except OSError as error:
        return "refused"
    except ValueError as error:  # the resource module's word for EPERM
        return "refused"


def thread():
    seen = []
    worker = threading.Thread(target=seen.append, args=(1,))
    worker.start()
    worker.join()
    assert seen == [1]


def tree():
    os.mkdir("folder")
    Path("folder/file").write_text("text")
    os.rename("folder/file", "file")
    os.remove("file")
    os.rmdir("folder")


ACTIONS = {
%s
}
print(json.dumps({name: outcome(action) for name, action in ACTIONS.items()}))
"""
REFUSED = {
    "write outside": "open(outside + '/new', 'w')",
    "change outside": "open(outside + '/kept', 'a')",
    "cut outside": "os.truncate(outside + '/kept', 0)",
    "remove outside": "os.remove(outside + '/kept')",
    "rename outside": "os.rename(outside + '/kept', 'mine')",
    "climb": "open('../new', 'w')",
    "the package": "open(raise_barrier.__code__.co_filename, 'a')",
    "link": "os.symlink(outside, 'link')",
    "hard link": "os.link(outside + '/kept', 'hard')",
    "pipe": "os.mkfifo('pipe')",
    "fork": "os.fork()",
    "fork in C": "libc.fork()",
    "vfork in C": "libc.vfork()",
    "program": "os.execv('/bin/true', ['true'])",
    "subprocess": "subprocess.run(['/bin/true'])",
    "new session": "os.setsid()",
    "new group": "os.setpgid(0, 0)",
    "signal to the parent": "os.kill(parent, 0)",
    "signal to all": "os.kill(-1, 0)",
    "signal to init": "libc.kill(1, 0)",
    "memory of the parent": "open(f'/proc/{parent}/mem', 'r+b')",
    "environment of the parent": "open(f'/proc/{parent}/environ', 'rb').read()",
    "trace the parent": "libc.ptrace(16, parent, 0, 0)",
    "socket": "socket.socket()",
    "unix socket": "socket.socket(socket.AF_UNIX)",
    "mode": "os.chmod('before', 0o777)",
    "owner": "os.chown('before', 0, 0)",
    "times": "os.utime(outside + '/kept', (0, 0))",
    "shared memory": "mmap.mmap(-1, 4096)",
    "limits": "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))",
    "namespace": "libc.unshare(0x20000000)",
}
ALLOWED = {
    "tree": "tree()",
    "what was open": "kept.write('text')",
    "null device": "open('/dev/null', 'w')",
    "reading": "open(outside + '/kept').read()",
    "thread": "thread()",
    "signal to itself": "os.kill(os.getpid(), 0)",
    "private memory": "mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)",
    "its own process": "open('/proc/self/status').read()",
    "the machine": "open('/proc/meminfo').read()",
    "importing": "__import__('email.mime.text')",
    "reading limits": "resource.getrlimit(resource.RLIMIT_DATA)",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    outside, work = tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("parent") / "work"
    work.mkdir()
    (outside / "kept").write_text("kept")
    lines = "\n".join(f"    {name!r}: lambda: {action}," for name, action in {**REFUSED, **ALLOWED}.items())
    script = textwrap.dedent(HEAD) % lines
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, str(outside)],
        cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (outside / "kept").read_text() == "kept"
    assert sorted(path.name for path in outside.iterdir()) == ["kept"]
    assert sorted(path.name for path in work.parent.iterdir()) == ["work"]
    return json.loads(done.stdout)


@COMPLETE
@pytest.mark.parametrize("name", list(REFUSED))
def test_refused(name, outcomes):
    assert outcomes[name] == "refused"


@COMPLETE
@pytest.mark.parametrize("name", list(ALLOWED))
def test_allowed(name, outcomes):
    assert outcomes[name] == "done"


@pytest.mark.parametrize("machine", list(_ARCHITECTURES))
def test_every_jump_of_the_filter_lands_in_the_filter(machine):
    """The kernel takes no other program; the machine that is not here cannot say so."""
    program = _filter(4711, machine)
    assert len(program) < 4096
    for place, (code, yes, no, _) in enumerate(program):
        if code & 0x07 == 0x05:
            assert place + 1 + max(yes, no) < len(program)
    assert program[-1][0] == 0x06
    numbers = _ARCHITECTURES[machine][1]
    assert len(set(numbers.values())) == len(numbers)
