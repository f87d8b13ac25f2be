"""Mechanisms that attack the audit: it goes on, the worker dies, nothing outside changes, and there is no bound to accept by.

Those that reach for the guard switch it off first, as a candidate in the same interpreter can; what then holds is the kernel's.
"""

import contextlib
import signal
import time
from pathlib import Path

import pytest

from dpaudit.contract import AuditBrokenError, Outcome
from dpaudit.contract.kernel_barrier import barrier
from dpaudit.probe import SourceError, isolated_process, load_source, measure
from dpaudit.static import analyse

from .hostile import BODY, LOADS, STEPS, written

pytestmark = [
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(bool(barrier()), reason=f"no complete kernel barrier here: {'; '.join(barrier())}"),
]
LIMIT = 4.0


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
    path = written(tmp_path, mechanism, name)
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
            load_source(written(tmp_path / name, mechanism, name)),
            config(epochs=1, steps_per_epoch=2),
            time_limit=LIMIT,
        )
    path = tmp_path / "honest.py"
    path.write_text(mechanism(BODY))
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
