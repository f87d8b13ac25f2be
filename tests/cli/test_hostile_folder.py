"""A whole run of the command line over a folder of mechanisms that attack it, and one honest one among them."""

import ctypes
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dpaudit
from dpaudit.contract import AuditReport, ExitCode, Verdict
from dpaudit.contract.kernel_barrier import barrier
from dpaudit.report import from_json
from tests.probe.conftest import body
from tests.probe.hostile import LOADS, STEPS, written

pytestmark = pytest.mark.skipif(bool(barrier()), reason=f"no complete kernel barrier here: {'; '.join(barrier())}")
POWER = pytest.mark.skipif(os.environ.get("DPAUDIT_POWER") != "1", reason="minutes long; set DPAUDIT_POWER=1")
HONEST = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"
FORGES = "answers nonsense"
_SUBREAPER = 36


@pytest.fixture
def reaper() -> Iterator[None]:
    """Processes that lose their parent become children of this one, so that none is overlooked."""
    libc = ctypes.CDLL(None)
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(_SUBREAPER, 0, 0, 0, 0)


def _left() -> list[str]:
    """Command lines of children of this process that run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, parent = (
                (entry / "stat").read_text().rpartition(")")[2].split()[:2] if entry.name.isdigit() else "Z0"
            )
            if int(parent) == os.getpid() and state != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def _state(*folders: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _gate(place: Path, out: Path, *options: str) -> tuple[int, dict[str, AuditReport]]:
    (out.parent / "scratch").mkdir(exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "dpaudit",
        "gate",
        ".",
        "--preset",
        "digits",
        "--accuracy",
        "none",
        "--out",
        str(out),
    ]
    before = _left()
    done = subprocess.run(
        [*command, "--quiet", *options], cwd=place, capture_output=True, text=True, check=False, timeout=3600,
        env={**os.environ, "TMPDIR": str(out.parent / "scratch"), "PYTHONPATH": str(Path(dpaudit.__file__).parents[1])},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert sorted(_left()) == sorted(before)
    assert not list((out.parent / "scratch").iterdir())
    reports = from_json((out / "report.json").read_text(encoding="utf-8"))
    return done.returncode, {Path(report.mechanism).stem: report for report in reports}


def _told(report: AuditReport) -> str:
    """All that an audit decided from, without times, places and commands."""
    kept = {
        "verdict": report.verdict, "reasons": report.reasons, "epsilon": repr(report.epsilon), "sigma": repr(report.sigma),
        "findings": [(finding.rule, finding.message, finding.line) for finding in report.findings],
        "layers": [(record.layer, record.outcome, record.ran) for record in report.layers],
    }  # fmt: skip
    return json.dumps(kept, indent=1, default=str)


def _together(tmp_path: Path, names: list[str], *options: str) -> dict[str, AuditReport]:
    """Audit the hostile files and the honest one in one run; check all but what becomes of the honest one."""
    place, outside = tmp_path / "together", tmp_path / "outside"
    for folder in (place, outside):
        folder.mkdir()
    files = {
        name: f"{number:02d}_{name.replace(' ', '_').replace(chr(39), '')}.py" for number, name in enumerate(names)
    }
    for name, file in files.items():
        written(tmp_path, body, name, file=f"together/{file}")
    (place / "honest.py").write_text(HONEST.read_text(encoding="utf-8"), encoding="utf-8")
    package = Path(dpaudit.__file__).parent
    before = _state(place, outside, package)
    code, reports = _gate(place, tmp_path / "out", *options)
    assert _state(place, outside, package) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "outside", "scratch", "together"]
    assert set(reports) == {"honest", *(Path(file).stem for file in files.values())}
    named = {name: reports[Path(file).stem] for name, file in files.items()}
    assert not [name for name, report in named.items() if report.verdict is Verdict.ACCEPTED]
    assert [name for name, report in named.items() if report.broken] == [name for name in names if name == FORGES]
    rejected = any(report.verdict is Verdict.REJECTED for report in reports.values())
    expected = ExitCode.BROKEN if FORGES in names else ExitCode.REJECTED if rejected else ExitCode.INCONCLUSIVE
    assert code == expected
    return {**named, "honest": reports["honest"]}


def test_some_that_attack_and_one_that_does_not(tmp_path: Path, reaper: None) -> None:
    names = ["answers nonsense", "ends at import", "keyboard"]
    options = ("--layers", "static,replay", "--time-limit", "300", "--jobs", "2")
    reports = _together(tmp_path, names, *options)
    forged = reports[FORGES]
    assert forged.verdict is Verdict.INCONCLUSIVE  # not the candidate's fault beyond doubt: dpaudit's, exit code 3
    assert "DPA001" in {finding.rule for finding in forged.findings}
    honest = reports["honest"]
    assert honest.verdict is Verdict.INCONCLUSIVE
    assert honest.reasons == ("the required layer properties did not run: not among the layers asked for",)


@POWER
@pytest.mark.timeout(5400)
def test_all_that_attack_and_one_that_does_not(tmp_path: Path, reaper: None) -> None:
    # Without attacks: how many trials fit their time depends on what else runs, so that their numbers are not comparable.
    options = ("--layers", "static,properties,replay", "--time-limit", "60", "--jobs", "2")
    reports = _together(tmp_path, [*STEPS, *LOADS], *options)
    assert reports["honest"].verdict is Verdict.ACCEPTED
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "honest.py").write_text(HONEST.read_text(encoding="utf-8"), encoding="utf-8")
    _, by_itself = _gate(alone, tmp_path / "out-alone", *options)
    assert _told(reports["honest"]) == _told(by_itself["honest"])
