"""Tests run in a fork that imports a changed module in place of the original.

The parent has imported the third-party packages but nothing of dpaudit that imports the module. This is the slow and plain way;
it decides about every mutant that the quick one (:mod:`tests.mutation.swapped_code`) does not see killed.
"""

import ast
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .code_mutants import ROOT, Mutant, mutated

HANGS = "it hangs, or ends the process"
_ARGUMENTS = ("-q", "-x", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_HARNESS_FAULTS = {3: "pytest failed", 4: "pytest was called wrongly", 5: "no test was collected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test: what it costs and which lines of the module it executes."""

    __test__ = False

    name: str
    seconds: float
    lines: frozenset[int]


def killer(mutant: Mutant, tests: Sequence[Test]) -> str:
    """What notices the mutant: the name of a test, an import, a hang; empty if nothing does.

    First the tests that execute the changed lines, then all the others: a fixture's lines count for the test that made it.
    """
    touching, rest = by_touch(mutant, tests)
    return (touching and _run(mutant, touching)) or (rest and _run(mutant, rest)) or ""


def by_touch(mutant: Mutant, tests: Sequence[Test]) -> tuple[list[Test], list[Test]]:
    """The tests that execute the changed lines, and the others."""
    touching = [test for test in tests if not test.lines.isdisjoint(range(mutant.line, mutant.last + 1))]
    return touching, [test for test in tests if test not in touching]


def _run(mutant: Mutant, tests: Sequence[Test]) -> str:
    limit = 12.0 + 6 * sum(test.seconds for test in tests)
    answer = forked(lambda report: _changed(mutant, tests, report), limit)
    if answer is None:
        return HANGS
    if answer["code"] in _HARNESS_FAULTS and not answer["failed"]:
        raise RuntimeError(f"{mutant.key}: {_HARNESS_FAULTS[answer['code']]}")
    return "" if answer["code"] == 0 else str(answer["failed"] or "it cannot be imported or collected")


def forked(task: Callable[[dict[str, Any]], None], limit: float, *, silent: bool = True) -> dict[str, Any] | None:
    """What ``task`` left in the dictionary that it is given; ``None`` if the fork ended or was ended without that."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        pid = os.fork()
        if pid == 0:
            try:
                os.setpgid(0, 0)
                nowhere = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2) if silent else (0,):
                    os.dup2(nowhere, descriptor)
                os.chdir(ROOT)
                report: dict[str, Any] = {"code": 99, "failed": "", "tests": [], "killers": []}
                try:
                    task(report)
                except Exception:
                    traceback.print_exc()
                path.write_text(json.dumps(report), encoding="utf-8")
            finally:
                os._exit(0)
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
            time.sleep(0.01)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None


def _changed(mutant: Mutant, tests: Sequence[Test], report: dict[str, Any]) -> None:
    instead = _Instead(mutant.module, mutated(mutant))
    sys.meta_path.insert(0, instead)
    importlib.import_module(instead.name)  # now: pytest's own finder would come first
    assert sys.modules[instead.name].__loader__ is instead
    files = dict.fromkeys(test.name.partition("::")[0] for test in tests)
    chosen = _Chosen([test.name for test in tests])
    report["code"] = int(pytest.main([*_ARGUMENTS, *files], plugins=[chosen]))
    report["failed"] = chosen.failed


class _Chosen:
    """Keeps to tests by name, in that order, and remembers which failed first."""

    def __init__(self, names: Sequence[str]) -> None:
        self._place = {name: number for number, name in enumerate(names)}
        self.failed = ""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place), key=lambda item: self._place[item.nodeid]
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a tree."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self._path, self._tree = ROOT / module, tree
        self.name = module.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)  # type: ignore[arg-type]

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._path), "exec"), module.__dict__)
