"""Run-level specimens: event traces, run directories, scripts and networks, under the dpaudit command that takes each.

``python -m tests.corpus.run_level [--only TEXT] [--kind trace|directory|script|network] [--out FILE]``

A record or a script alone never ends ACCEPTED, so what counts is whether the run is held up: ``rejected`` (a witness, exit code
1), ``held`` (a finding worse than MINOR, exit code 4), ``refused`` (its files contradict each other, exit code 2) or ``nothing``
(no such finding).
"""

import argparse
import contextlib
import io
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dpaudit.contract import DataError, Finding, Severity

from .run_directories import run_directories
from .traces import traces

FOLDER = Path(__file__).parent / "runs"
NETWORK_SHAPE = "1,8,8"
_SCRIPT_RULES = {"c06_closure": "DPA504", "c18_mixing": "DPA503", "c19_tied": "DPA503", "c20_formula": "DPA503"}
_REJECTED_SCRIPTS = {"c06_closure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpecimen:
    """One run-level specimen.

    Attributes:
        kind: ``trace`` and ``directory`` (``dpaudit gate --ledger``), ``script`` (``dpaudit gate --opacus``), ``network``
            (``dpaudit model``).
        expected: ``rejected``, ``held``, ``refused`` or ``nothing``.
        rules: of which one at least must be the cause.
        epsilon: true epsilon or a lower bound, where there is a number.
    """

    name: str
    kind: str
    expected: str
    rules: tuple[str, ...]
    epsilon: float | None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.expected == "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What dpaudit said of a specimen; ``seconds`` of processor time, children included."""

    specimen: RunSpecimen
    said: str
    rules: tuple[str, ...]
    seconds: float

    @property
    def as_it_must(self) -> bool:
        """Right outcome for the right cause."""
        cause = not self.specimen.rules or any(rule in self.rules for rule in self.specimen.rules)
        return self.said == self.specimen.expected and cause


def run_specimens(kind: str = "", only: str = "") -> tuple[RunSpecimen, ...]:
    """Those of a kind (all if empty) whose name contains ``only``."""
    found = [*_traces(), *_directories(), *_files()]
    return tuple(one for one in found if kind in ("", one.kind) and only in one.name)


def _traces() -> Iterator[RunSpecimen]:
    for trace in traces():
        expected = "nothing" if trace.sound else "rejected" if trace.rejected else "held"
        yield RunSpecimen(name=trace.name, kind="trace", expected=expected, rules=trace.rules, epsilon=trace.epsilon)


def _directories() -> Iterator[RunSpecimen]:
    for one in run_directories():
        yield RunSpecimen(
            name=one.name, kind="directory", expected=one.expected, rules=one.rules, epsilon=one.epsilon
        )  # fmt: skip


def _files() -> Iterator[RunSpecimen]:
    for path in sorted(FOLDER.rglob("*.py")):
        family, sound = path.parent.name, path.stem.startswith("clean")
        network = family.endswith("_network")
        broken = "rejected" if network or family in _REJECTED_SCRIPTS else "held"
        yield RunSpecimen(
            name=f"{family}/{path.stem}",
            kind="network" if network else "script",
            expected="nothing" if sound else broken,
            rules=() if sound else ("DPA503" if network else _SCRIPT_RULES[family],),
            epsilon=None,
        )


def examine_run(specimen: RunSpecimen) -> RunOutcome:
    """What dpaudit says of one specimen."""
    started = _processor_seconds()
    with tempfile.TemporaryDirectory(prefix="dpaudit-corpus-") as folder:
        said, rules = _BY_KIND[specimen.kind](specimen, Path(folder))
    return RunOutcome(specimen=specimen, said=said, rules=rules, seconds=_processor_seconds() - started)


def _trace(specimen: RunSpecimen, folder: Path) -> tuple[str, tuple[str, ...]]:
    from dpaudit.commands.ledger import audit_ledger

    (trace,) = (one for one in traces() if one.name == specimen.name)
    report = audit_ledger(str(trace.write(folder)), argparse.Namespace())
    assert report.verdict != "ACCEPTED"
    return _said(report.findings)


def _directory(specimen: RunSpecimen, folder: Path) -> tuple[str, tuple[str, ...]]:
    from dpaudit.commands.ledger import audit_ledger

    (one,) = (one for one in run_directories() if one.name == specimen.name)
    try:
        report = audit_ledger(str(one.write(folder)), argparse.Namespace())
    except DataError:
        return "refused", ()
    assert report.verdict != "ACCEPTED"
    return _said(report.findings)


def _script(specimen: RunSpecimen, folder: Path) -> tuple[str, tuple[str, ...]]:
    """What the adapter finds before the optimiser's step itself is audited: that one is Opacus's own in all of these."""
    from dpaudit.adapters import opacus_subject

    return _said(opacus_subject(str(FOLDER / f"{specimen.name}.py"), folder).findings)


def _network(specimen: RunSpecimen, _folder: Path) -> tuple[str, tuple[str, ...]]:
    from dpaudit.commands.model import RULE, run

    words = argparse.Namespace(path=f"{FOLDER / specimen.name}.py:build", shape=NETWORK_SHAPE)
    with contextlib.redirect_stdout(io.StringIO()):
        code = run(words)
    return {0: ("nothing", ()), 1: ("rejected", (RULE,)), 4: ("held", ())}[int(code)]  # type: ignore[return-value]


_BY_KIND = {"trace": _trace, "directory": _directory, "script": _script, "network": _network}


def _said(findings: tuple[Finding, ...]) -> tuple[str, tuple[str, ...]]:
    serious = [finding for finding in findings if finding.severity is not Severity.MINOR]
    refuting = any(finding.refutes for finding in serious)
    return "rejected" if refuting else "held" if serious else "nothing", tuple(sorted({f.rule for f in serious}))


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> int:
    """Exit 0 if every outcome is as it must be, else 1."""
    parser = argparse.ArgumentParser(description="examine the run-level corpus")
    parser.add_argument("--only", default="")
    parser.add_argument("--kind", default="", choices=("", *_BY_KIND))
    parser.add_argument("--out", help="JSON file of the outcomes")
    arguments = parser.parse_args()
    chosen = run_specimens(arguments.kind, arguments.only)
    if not chosen:
        parser.error("no specimen of that kind and name")
    rows, wrong = [], 0
    for specimen in chosen:
        outcome = examine_run(specimen)
        wrong += not outcome.as_it_must
        mark = "ok   " if outcome.as_it_must else "WRONG"
        print(
            f"{mark} {outcome.said:9} {outcome.seconds:5.1f} s  {specimen.name}  {','.join(outcome.rules)}", flush=True
        )
        rows.append(
            {
                "name": specimen.name, "kind": specimen.kind, "sound": specimen.sound, "expected": specimen.expected,
                "said": outcome.said, "rules": list(outcome.rules), "as_it_must": outcome.as_it_must,
                "epsilon_true": specimen.epsilon, "seconds": round(outcome.seconds, 2),
            }
        )  # fmt: skip
        if arguments.out:
            Path(arguments.out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} specimens, {wrong} not as they must be", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
