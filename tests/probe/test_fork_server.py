"""Workers are forks of a process that has imported torch already; nothing but speed may tell them from processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dpaudit.contract import AuditBrokenError
from dpaudit.probe.isolated_process import IsolatedProcess

WORKER = """
import json, os, random, sys

PRELOAD = ("decimal",)
STATE = []


def main():
    kind = sys.argv[1]
    if kind == "facts":
        STATE.append(1)
        import numpy
        facts = {
            "arguments": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ), "state": len(STATE),
            "random": random.random(), "numpy": numpy.random.random(), "session": os.getsid(0) == os.getpid(),
            "descriptors": len(os.listdir("/proc/self/fd")), "preloaded": "decimal" in sys.modules,
        }
        print(json.dumps(facts), flush=True)
    elif kind == "echo":
        for line in sys.stdin:
            print(json.dumps({"said": json.loads(line)["say"]}), flush=True)
    elif kind == "exit":
        sys.exit(7)
    elif kind == "raise":
        raise KeyError("nothing")
    elif kind == "kill":
        os.kill(os.getpid(), 11)
    elif kind == "sleep":
        child = os.fork()
        print(json.dumps({"pid": os.getpid(), "child": child}), flush=True) if child else None
        import time
        time.sleep(600)
"""


@pytest.fixture(params=["1", "0"], ids=["forked", "own interpreter"])
def start(request, monkeypatch, tmp_path):
    """Start a worker of the module above, either way."""
    modules = tmp_path / "modules"
    modules.mkdir()
    text = WORKER + ('\n\nif __name__ == "__main__":\n    main()\n' if request.param == "0" else "")
    (modules / "some_worker.py").write_text(text)
    (modules / "broken_worker.py").write_text("raise OSError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(modules))
    monkeypatch.setenv("SECRET", "must not be seen")
    monkeypatch.setenv("DPAUDIT_FORK_SERVER", request.param)

    def begin(*arguments: str, module: str = "some_worker", orders: bool = False) -> IsolatedProcess:
        work = tmp_path / f"work-{time.monotonic_ns()}"
        work.mkdir()
        return IsolatedProcess(module, arguments, work, orders=orders)

    begin.forked = request.param == "1"
    return begin


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if status == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_worker_knows_its_arguments_and_nothing_else(start):
    seen = []
    for number in ("one", "two"):
        with start("facts", number) as process:
            facts = process.answer(60)
        assert facts["arguments"] == ["facts", number]
        assert "work-" in facts["cwd"]
        assert facts["environment"]["HOME"] == facts["environment"]["TMPDIR"] == facts["cwd"]
        assert "SECRET" not in facts["environment"]
        assert facts["state"] == 1, "what one worker leaves in a module must not reach the next"
        assert facts["session"]
        assert facts["descriptors"] <= 4, "three standard ones and the listing's own"
        assert facts["preloaded"] == start.forked
        seen.append((facts["random"], facts["numpy"]))
    assert seen[0][0] != seen[1][0]
    assert seen[0][1] != seen[1][1]


def test_orders_and_answers(start):
    with start("echo", orders=True) as process:
        for word in ("first", "second"):
            assert process.order({"say": word})
            assert process.answer(60) == {"said": word}
        assert process.alive


@pytest.mark.parametrize(("kind", "code"), [("exit", 7), ("raise", 1), ("kill", -signal.SIGSEGV), ("nothing", 0)])
def test_exit_codes(start, kind, code):
    with start(kind) as process:
        assert process.answer(60) is None
        assert not process.hung
        assert process.stop() == code
        assert not process.alive


def test_stopping_kills_the_worker_and_what_it_started(start):
    with start("sleep") as process:
        pids = process.answer(60)
        assert process.answer(0.2) is None
        assert process.hung
        assert process.alive
        assert process.stop() == -signal.SIGKILL
    assert _gone(pids["pid"])
    assert _gone(pids["child"])


def test_several_workers_at_once(start):
    processes = [start("echo", orders=True) for _ in range(4)]
    for number, process in enumerate(processes):
        process.order({"say": number})
    assert [process.answer(60) for process in processes] == [{"said": number} for number in range(4)]
    processes[0].stop()
    assert processes[1].alive
    for process in processes[1:]:
        assert process.stop() == -signal.SIGKILL


def test_a_module_that_cannot_be_imported(start):
    if start.forked:
        with pytest.raises(AuditBrokenError, match="no such library"):
            start("facts", module="broken_worker")
    else:
        with start("facts", module="broken_worker") as process:
            assert process.answer(60) is None
            assert process.stop() == 1


def test_a_server_that_was_killed_takes_its_workers_along_and_is_replaced(start):
    if not start.forked:
        pytest.skip("there is no server")
    with start("sleep") as process:
        pids = process.answer(60)
        server = int(Path(f"/proc/{pids['pid']}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(server, signal.SIGKILL)
        assert process.stop() == -signal.SIGKILL
    assert _gone(pids["pid"])
    for _ in range(100):
        if _gone(server):
            break
    with start("facts", "again") as process:
        assert process.answer(60)["arguments"] == ["facts", "again"]


def test_workers_end_with_the_parent(tmp_path, start):
    if not start.forked:
        pytest.skip("without a server a worker of a killed parent goes on until its time limit")
    script = (
        "import json, os, sys\n"
        "from pathlib import Path\n"
        "from dpaudit.probe.isolated_process import IsolatedProcess\n"
        "process = IsolatedProcess('some_worker', ['sleep'], Path(sys.argv[1]))\n"
        "print(json.dumps(process.answer(60)), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    result = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    pids = json.loads(result.stdout)
    assert _gone(pids["pid"])
    assert _gone(pids["child"])
