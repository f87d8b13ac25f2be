"""Mechanisms that attack the audit: it goes on, the worker dies, nothing outside changes, and there is no bound to accept by.

Those that reach for the guard switch it off first, as a candidate in the same interpreter can; what then holds is the kernel's.
"""

import contextlib
import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from dpaudit.contract import AuditBrokenError, Outcome
from dpaudit.contract.kernel_barrier import barrier
from dpaudit.probe import SourceError, isolated_process, load_source, measure
from dpaudit.static import analyse

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(bool(barrier()), reason=f"no complete kernel barrier here: {'; '.join(barrier())}"),
]
LIMIT = 4.0
HONEST = "return [m + self.noise(m) for m in self.mean(grads)]"
GUARD_OFF = "import gc, os\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Guard':\n        o._on = False\n"
# {outside}: a folder that must stay as it is; {parent}: the audit's own process; {self}: the candidate's file.
STEPS = {
    "recursion": "def f(): return f()\nf()",
    "deep recursion": "import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()",
    "fork bomb": GUARD_OFF + "while True:\n    try:\n        os.fork()\n    except OSError:\n        break",
    "fork in C": "import ctypes\nctypes.pythonapi.fork()",
    "kills its parents": GUARD_OFF + "import signal\nfor pid in (os.getppid(), {parent}, -1):\n    try:\n"
    "        os.kill(pid, signal.SIGKILL)\n    except OSError:\n        pass",
    "writes outside": GUARD_OFF + "open('{outside}/new', 'w').write('x')",
    "poisons the package": GUARD_OFF
    + "import dpaudit\nopen(os.path.dirname(dpaudit.__file__) + '/contract/guard.py', 'a').write('# poisoned')",
    "deletes its source and more": GUARD_OFF + "import shutil\nos.remove('{self}')\nshutil.rmtree('{outside}')",
    "truncates in C": "import ctypes\nctypes.pythonapi.truncate(b'{outside}/kept', 0)",
    "reads the parent's environment": GUARD_OFF
    + "text = open('/proc/{parent}/environ', 'rb').read()\nself.sigma = 0.8 if text else 0.8",
    "pulls at the parent's pipes": GUARD_OFF
    + "for name in os.listdir('/proc/{parent}/fd'):\n    try:\n        open('/proc/{parent}/fd/' + name, 'wb').write(b'{{}}')\n"
    "    except OSError:\n        pass",
    "closes everything": "import os\nos.closerange(0, 1000)",
    "ends at exit": "import atexit, sys\natexit.register(lambda: 1 / 0)\natexit.register(sys.exit, 3)",
    "threads that stay": "import threading, time\nfor _ in range(8):\n"
    "    threading.Thread(target=time.sleep, args=(3600,)).start()",
    "changes folder": "import os\nos.chdir('/')\nopen('relative', 'w')",
    "a base exception": "class E(BaseException):\n    def __str__(self): raise self\n    __repr__ = __str__\n"
    "    def __reduce__(self): return (print, ('payload',))\nraise E()",
    "keyboard": "raise KeyboardInterrupt",
    "shared memory": "import mmap\nself.k = [mmap.mmap(-1, 2**36)]",
    "a deep tree": GUARD_OFF + "for _ in range(1500):\n    os.mkdir('d')\n    os.chdir('d')",
    "links": GUARD_OFF + "os.symlink('{outside}', 'link')",
    "floods the answers": "import os\nwhile True:\n    for fd in range(3, 12):\n        try:\n"
    "            os.write(fd, b'{{\"progress\": [1, 2]}}\\n' * 1000)\n        except OSError:\n            pass",
    "answers nonsense": "import os\nfor fd in range(3, 12):\n    try:\n"
    "        os.write(fd, b'[' * 100000 + b'\\n' + b'{{\"result\": {{\"reported\": [NaN]}}}}\\n')\n"
    "    except OSError:\n        pass",
    "ignores signals": "import signal\nfor s in range(1, 60):\n    try:\n        signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError):\n        pass\nwhile True: pass",
    "patches torch": "torch.randn_like = torch.zeros_like\ntorch.Tensor.norm = lambda *a, **k: torch.zeros(())",
    "patches the audit": "import sys\nfor name, module in list(sys.modules.items()):\n"
    "    if name.startswith('dpaudit') and hasattr(module, 'encode_result'):\n        module.encode_result = lambda result: {{}}",
    "weak references": "import gc, weakref\nfor o in gc.get_objects()[:2000]:\n    try:\n        weakref.finalize(o, print)\n"
    "    except TypeError:\n        pass\ngc.disable()",
}
LOADS = {
    "sleeps at import": "import time\ntime.sleep(10**6)\n",
    "ends at import": "import os\nos._exit(0)\n",
    "raises at import": "raise BaseException\n",
    "exec at import": "exec('import os; os.kill(os.getppid(), 9)')\n",
}


def _candidate(tmp_path: Path, mechanism, name: str) -> str:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    path = tmp_path / "candidate.py"
    if name in LOADS:
        # in the body of the class: statements that the class does not need are not run at all
        body = "class DPMechanism:\n" + textwrap.indent(LOADS[name], "    ")
        text = mechanism(HONEST).replace("class DPMechanism:\n", body)
    else:
        step = STEPS[name].format(outside=outside, parent=os.getpid(), self=path)
        text = mechanism(step + "\n" + HONEST)
    path.write_text(text)
    return str(path)


def _workers() -> set[int]:
    """Processes that fork servers of this process still have."""
    servers = {server._process.pid for server in isolated_process._servers.values()}
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if int(parent) in servers and state != "Z":
                    found.add(int(entry.name))
    return found


@pytest.mark.parametrize("name", [*STEPS, *LOADS])
def test_the_audit_goes_on_and_nothing_outside_changes(name, tmp_path, mechanism, config):
    path = _candidate(tmp_path, mechanism, name)
    source, run = load_source(path), config(epochs=1, steps_per_epoch=2)
    before, guard = Path(path).read_text(), Path(barrier.__code__.co_filename).with_name("guard.py").read_text()
    started, others, interrupt = time.monotonic(), _workers(), signal.getsignal(signal.SIGINT)
    forges = name == "answers nonsense"  # the gate records it as DPA001, which accepts nothing
    with pytest.raises(AuditBrokenError) if forges else contextlib.nullcontext():
        measurement = measure(source, run, time_limit=LIMIT, memory_limit_mib=3000)
        assert not any(finding.rule == "DPA001" for finding in measurement.findings)
    result = analyse(source, run, time_limit=LIMIT)
    assert result.sigma_effective is None
    assert result.refusal is not None
    assert time.monotonic() - started < 240
    assert _workers() <= others
    assert Path(path).read_text() == before
    assert (tmp_path / "outside" / "kept").read_text() == "kept"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["candidate.py", "outside"]
    assert Path(barrier.__code__.co_filename).with_name("guard.py").read_text() == guard
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_another_mechanism_is_unaffected_by_one_that_attacks(tmp_path, mechanism, config):
    for name in ("kills its parents", "patches the audit"):
        (tmp_path / name).mkdir()
        measure(
            load_source(_candidate(tmp_path / name, mechanism, name)),
            config(epochs=1, steps_per_epoch=2),
            time_limit=LIMIT,
        )
    path = tmp_path / "honest.py"
    path.write_text(mechanism(HONEST))
    measurement = measure(load_source(str(path)), config(epochs=1, steps_per_epoch=2))
    assert measurement.outcome is Outcome.PASSED
    assert measurement.measured == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"class DPMechanism:\n    x = '\xff\xfe'\n", "UTF-8"),
        (b"class DPMechanism(:\n", "syntax"),
        (b"class DPMechanism:\n    x = 1\0\n", "null"),
        (b"", "DPMechanism"),
        (b"\xef\xbb\xbfx = 1\n", "DPMechanism"),
        (b"(" * 100_000, ""),
        (b"class DPMechanism:\n" + b"    x = " + b"-" * 100_000 + b"1\n", ""),
    ],
)
def test_a_file_that_is_no_program_is_a_finding(content, words, tmp_path):
    path = tmp_path / "candidate.py"
    path.write_bytes(content)
    with pytest.raises(SourceError) as raised:
        load_source(str(path))
    assert words.lower() in raised.value.finding.message.lower()
    assert not raised.value.finding.refutes
