"""Mechanisms that attack the audit, as texts. Those that reach for the guard switch it off first."""

import os
import textwrap
from collections.abc import Callable
from pathlib import Path

BODY = "return [m + self.noise(m) for m in self.mean(grads)]"
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


def written(folder: Path, mechanism: Callable[..., str], name: str, file: str = "candidate.py") -> str:
    """The path of that mechanism's file in ``folder``, beside a folder ``outside`` that must stay as it is.

    Args:
        mechanism: the text of a whole file from the body of ``clip_and_noise``.
    """
    outside = folder / "outside"
    outside.mkdir(exist_ok=True)
    (outside / "kept").write_text("kept")
    path = folder / file
    if name in LOADS:
        # in the body of the class: statements that the class does not need are not run at all
        start = "class DPMechanism:\n" + textwrap.indent(LOADS[name], "    ")
        text = mechanism(BODY).replace("class DPMechanism:\n", start)
    else:
        step = STEPS[name].format(outside=outside, parent=os.getpid(), self=path)
        text = mechanism(step + "\n" + BODY)
    path.write_text(text)
    return str(path)
