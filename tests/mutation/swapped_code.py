"""The quick way: the tests are collected once, and a fork for each mutant gives one function another code.

What happens at import, and functions that are no longer held by anything, are out of its reach; a mutant that survives here is
therefore run again by :mod:`tests.mutation.forked_tests`. The survey runs with recompiled code, so that a test which fails for
that alone is no killer.
"""

import ast
import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import pytest

from .code_mutants import ROOT, Mutant, mutated
from .forked_tests import HANGS, Test, by_touch, forked

Seen = Callable[[Mutant, str], None]


class Campaign:
    """A pytest plugin that runs no test itself: one fork surveys them, and one for each mutant plays those that may notice it.

    Args:
        killed: told of every mutant that a test noticed, and by which.
    """

    def __init__(self, module: str, mutants: Sequence[Mutant], killed: Seen) -> None:
        self._path, self._mutants, self._killed = ROOT / module, mutants, killed
        self.tests: tuple[Test, ...] = ()
        self.imported: list[str] = []
        self.fault = "its tests cannot be collected"
        self._failed = ""
        self._held: list[FunctionType] = []

    def run(self, files: Sequence[str]) -> None:
        """Collect the tests and play.

        Raises:
            RuntimeError: they fail without a change.
        """
        arguments = ("-q", "-x", "--capture=no", "-p", "no:cacheprovider", "-p", "no:xdist")
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            kept, sys.stdout = sys.stdout, nowhere
            try:
                pytest.main([*arguments, "-W", "ignore::pytest.PytestAssertRewriteWarning", *files], plugins=[self])
            finally:
                sys.stdout = kept
        if self.fault:
            raise RuntimeError(f"{self._path.relative_to(ROOT)}: {self.fault}: {' '.join(files)}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            return True
        items = {item.nodeid: item for item in session.items}
        answer = forked(lambda report: self._survey(session, report), 1_800.0)
        if answer is None or answer["failed"] or answer["code"]:
            self.fault = f"its tests fail without a change ({(answer and answer['failed']) or 'no answer'})"
            return True
        self.fault = ""
        self.imported = answer["modules"]
        surveyed = [Test(name=name, seconds=cost, lines=frozenset(lines)) for name, cost, lines in answer["tests"]]
        self.tests = tuple(sorted(surveyed, key=lambda test: test.seconds))
        self._held = functions_of(self._path)
        gc.freeze()  # what a fork's collector does not look at it need not copy
        kills: Counter[str] = Counter()
        for mutant in self._mutants:
            touching = by_touch(mutant, self.tests)[0]
            # quick ones first, and those that noticed other mutants: few are left for the long ones
            touching.sort(key=lambda test: test.seconds / (1 + kills[test.name]))
            chosen = [items[test.name] for test in touching]
            if chosen and (killer := self._killer(session, mutant, chosen)):
                self._killed(mutant, killer)
                kills[killer] += 1
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self._failed:
            self._failed = report.nodeid

    def _survey(self, session: pytest.Session, report: dict[str, Any]) -> None:
        swap(self._path, ast.parse(self._path.read_text(encoding="utf-8")), (), functions_of(self._path))
        for item in session.items:
            lines: set[int] = set()
            began = time.monotonic()
            sys.settrace(_tracer(str(self._path), lines))
            try:
                _play(session, [item])
            finally:
                sys.settrace(None)
            report["tests"].append([item.nodeid, time.monotonic() - began, sorted(lines)])
        report["modules"] = sorted(name for name in sys.modules if name.partition(".")[0] in {"dpaudit", "harness"})
        report["failed"], report["code"] = self._failed, 0

    def _killer(self, session: pytest.Session, mutant: Mutant, items: Sequence[pytest.Item]) -> str:
        def task(report: dict[str, Any]) -> None:
            if swap(self._path, mutated(mutant), range(mutant.line, mutant.last + 1), self._held):
                _play(session, items)
            report["failed"] = self._failed

        names = {item.nodeid for item in items}
        answer = forked(task, 12.0 + 6 * sum(test.seconds for test in self.tests if test.name in names))
        return HANGS if answer is None else str(answer["failed"])


def _play(session: pytest.Session, items: Sequence[pytest.Item]) -> None:
    """Run items up to the first that fails."""
    for place, item in enumerate(items):
        following = items[place + 1] if place + 1 < len(items) else None
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return


def _tracer(path: str, lines: set[int]) -> Any:
    def on_line(frame: FrameType, event: str, argument: object) -> Any:
        lines.add(frame.f_lineno)
        return on_line

    return lambda frame, event, argument: on_line(frame, event, argument) if frame.f_code.co_filename == path else None


def functions_of(path: Path) -> list[FunctionType]:
    """Every function of the module that anything holds; found once, as a process of the size of torch has a million objects."""
    return [
        thing for thing in gc.get_objects() if type(thing) is FunctionType and thing.__code__.co_filename == str(path)
    ]


def swap(path: Path, tree: ast.Module, lines: Iterable[int], functions: Iterable[FunctionType]) -> int:
    """Give those functions of the module that stand on the lines (all, for none) their code in ``tree``; how many there were."""
    wanted = set(lines)
    new = {_place(code): code for code in _codes(compile(tree, str(path), "exec"))}
    swapped = 0
    for function in functions:
        old = function.__code__
        if wanted and wanted.isdisjoint(_span(old)):
            continue
        code = new.get(_place(old))
        if code is not None and code.co_freevars == old.co_freevars:
            function.__code__ = code
            swapped += 1
    return swapped


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _span(code: CodeType) -> range:
    numbers = [line for part in (code, *_codes(code)) for _, _, line in part.co_lines() if line is not None]
    return range(min(numbers), max(numbers) + 1)


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)
