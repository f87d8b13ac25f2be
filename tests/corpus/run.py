"""Audit the corpus with the layers of the gate: ``python -m tests.corpus.run [--only TEXT] [--jobs N] [--out FILE]``.

Prints one line a specimen and, with ``--out``, writes what every layer said as JSON, from which the matrix is made.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dpaudit.contract import AuditReport, Layer, Severity
from dpaudit.gate import audit

from .configs import config

FOLDER = Path(__file__).parent
KEY = FOLDER / "key.json"
DETERMINISTIC = (Layer.STATIC, Layer.PROPERTIES, Layer.REPLAY)
"""The layers that decide without counting: what ACCEPTED needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """One mechanism file and the truth about it.

    Attributes:
        verdicts: what an audit may end with. Broken ones: REJECTED; where a fault shows only outside an audit, or only to
            who knows a secret, also INCONCLUSIVE. Sound ones: ACCEPTED alone.
        rules: for a broken one, the rules of which one at least must be among the findings that refute.
        line: of the fault, where it is one line.
        epsilon: true epsilon, or a demonstrated lower bound of it, by an accountant of another make; ``None`` if unbounded.
    """

    path: str
    config: str
    verdicts: tuple[str, ...]
    rules: tuple[str, ...]
    line: int | None
    epsilon: float | None

    @property
    def sound(self) -> bool:
        """Whether it keeps its budget."""
        return self.verdicts == ("ACCEPTED",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What an audit said of one specimen."""

    specimen: Specimen
    report: AuditReport
    seconds: float

    @property
    def refuting(self) -> tuple[str, ...]:
        """Rules of the findings that refute the claim."""
        return tuple(dict.fromkeys(finding.rule for finding in self.report.findings if finding.refutes))

    @property
    def as_it_must(self) -> bool:
        """Right verdict, and for a rejection the right cause."""
        if self.report.verdict not in self.specimen.verdicts:
            return False
        rules = self.specimen.rules
        return self.report.verdict != "REJECTED" or not rules or any(rule in self.refuting for rule in rules)


def specimens(only: str = "") -> tuple[Specimen, ...]:
    """Every specimen of the key whose path contains ``only``."""
    return tuple(
        Specimen(
            path=path,
            config=entry["config"],
            verdicts=tuple(entry["verdicts"]),
            rules=tuple(entry["rules"]),
            line=entry["line"],
            epsilon=entry["epsilon"],
        )
        for path, entry in json.loads(KEY.read_text(encoding="utf-8")).items()
        if only in path
    )


def examine(specimen: Specimen, layers: tuple[Layer, ...] = DETERMINISTIC) -> Result:
    """Audit one specimen under its configuration."""
    started = time.monotonic()
    report = audit(str(FOLDER / "mechanisms" / specimen.path), config(specimen.config), layers=layers)
    return Result(specimen=specimen, report=report, seconds=time.monotonic() - started)


def examine_all(chosen: tuple[Specimen, ...], jobs: int) -> Iterator[Result]:
    """Audit several at once; results in the order of the specimens."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        yield from pool.map(examine, chosen)


def main() -> int:
    """Exit 0 if every audit ended as it must, else 1."""
    parser = argparse.ArgumentParser(description="audit the corpus")
    parser.add_argument("--only", default="", help="part of a path")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", help="JSON file of what every layer said")
    arguments = parser.parse_args()
    chosen = specimens(arguments.only)
    if not chosen:
        parser.error(f"no specimen's path contains {arguments.only!r}")
    rows = []
    wrong = 0
    for result in examine_all(chosen, arguments.jobs):
        wrong += not result.as_it_must
        print(_line(result), flush=True)
        rows.append(_row(result))
        if arguments.out:  # after each, so that an interrupted run leaves what it has
            Path(arguments.out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} specimens, {wrong} not as they must be", file=sys.stderr)
    return 1 if wrong else 0


def _line(result: Result) -> str:
    mark = "ok   " if result.as_it_must else "WRONG"
    said = ",".join(result.refuting) or "; ".join(result.report.reasons[:2])[:150]
    return f"{mark} {result.report.verdict:12} {result.seconds:5.1f} s  {result.specimen.path}  {said}"


def _row(result: Result) -> dict[str, object]:
    bracket = result.report.epsilon.replayed
    return {
        "path": result.specimen.path,
        "sound": result.specimen.sound,
        "verdict": str(result.report.verdict),
        "as_it_must": result.as_it_must,
        "refuting": list(result.refuting),
        "rules": sorted({finding.rule for finding in result.report.findings}),
        "serious": sorted({f.rule for f in result.report.findings if f.severity is not Severity.MINOR}),
        "reason": result.report.reasons[0][:300] if result.report.reasons else "",
        "layers": {
            str(record.layer): {"outcome": str(record.outcome), "seconds": round(record.seconds, 2)}
            for record in result.report.layers
            if record.ran
        },
        "epsilon": [bracket.lower, bracket.upper],
        "epsilon_true": result.specimen.epsilon,
        "seconds": round(result.seconds, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
