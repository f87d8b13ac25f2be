"""Start the process that runs the candidate, listen, stop it. The candidate never runs in this one.

The process has a scrubbed environment, a temporary folder, and a time and memory limit; its whole group is killed at the
end. The guard, the request and the way answers are read are the probe's own.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import dpaudit
from dpaudit.contract import AuditBrokenError
from dpaudit.probe.messages import InvalidMessage, Request, encode_request
from dpaudit.probe.problem import Problem
from dpaudit.probe.sandbox import _ended, _listen

from .report import Report, decode_report

_KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")


def run_child(request: Request) -> Report | Problem:
    """Search in a process of its own. A :class:`Problem` (DPA013) if the candidate ended or hung it.

    Raises:
        AuditBrokenError: the process failed through no doing of the candidate.
    """
    with tempfile.TemporaryDirectory(prefix="dpaudit-") as folder:
        home = Path(folder)
        (home / "work").mkdir()
        (home / "request.json").write_text(encode_request(request), encoding="utf-8")
        traces = home / "traces.txt"
        ending = _listen(_start(home, traces), request, None)
        text = traces.read_text(encoding="utf-8", errors="replace") if traces.exists() else ""
    answer: dict[str, Any] = ending.answer or {}
    if "result" in answer:
        try:
            return decode_report(answer["result"], request.config.total_steps)
        except InvalidMessage as error:
            raise AuditBrokenError(f"properties: invalid result for {request.path}: {error}") from error
    if "fault" in answer:
        raise AuditBrokenError(f"properties: the search on {request.path} failed: {answer['fault']}")
    if not ending.ready:
        raise AuditBrokenError(
            f"properties: the process for {request.path} did not start (exit code {ending.exit_code}); "
            f"see that torch can be imported by {sys.executable}"
        )
    return _ended(ending, request, text)


def _start(home: Path, traces: Path) -> subprocess.Popen[bytes]:
    package_root = str(Path(dpaudit.__file__).resolve().parent.parent)
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    paths = [package_root, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    work = str(home / "work")
    environment |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "PATH": os.defpath,
        "HOME": work,
        "TMPDIR": work,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [sys.executable, "-P", "-s", "-m", "dpaudit.properties.child", str(home / "request.json"), str(traces)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd=work,
        start_new_session=True,
    )
