"""Limits count work: load does not reach them, sleeping does after three times as long, a busy loop at once."""

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dpaudit.probe import work_clock
from dpaudit.probe.work_clock import PATIENCE, WorkBudget, worked

BUSY = "while True: pass"
ASLEEP = "import time; time.sleep(60)"

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processor time of others needs /proc")


@pytest.fixture(params=[BUSY, ASLEEP])
def other(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with subprocess.Popen([sys.executable, "-S", "-c", request.param]) as process:
        yield request.param, process.pid
        process.kill()


@linux_only
def test_a_budget_is_used_up_by_work_or_by_waiting_three_times_as_long(other: tuple[str, int]) -> None:
    doing, pid = other
    time.sleep(0.3)
    budget = WorkBudget(pid, 0.4)
    started = time.monotonic()
    while (left := budget.left()) > 0:
        assert left <= 0.4
        time.sleep(0.01)
    took = time.monotonic() - started
    assert took >= (0.35 if doing == BUSY else 0.95 * PATIENCE * 0.4)
    if doing == ASLEEP:
        assert took < 2 * PATIENCE * 0.4


def test_where_work_cannot_be_read_the_wall_clock_counts() -> None:
    budget = WorkBudget(2**30, 0.2)  # no such process
    assert 0 < budget.left() <= 0.2
    time.sleep(0.25)
    assert budget.left() == 0


def test_work_is_processor_time_and_a_third_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"cpu": 10.0, "wall": 1000.0}
    monkeypatch.setattr(work_clock.time, "process_time", lambda: clock["cpu"])
    monkeypatch.setattr(work_clock.time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(work_clock, "_offset", 0.0)
    work_clock.begin()
    start = worked()
    clock.update(cpu=15.0, wall=1008.0)  # busy beside others
    assert worked() - start == pytest.approx(5.0)
    clock.update(wall=1060.0)  # asleep
    assert worked() - start == pytest.approx(60.0 / PATIENCE)
