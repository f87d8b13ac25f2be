"""The empirical layer on the corpus: ``python -m tests.corpus.empirical [--sample N] [--seconds S] --out FILE``.

One-step attacks of a few seconds each, at the gate's level, on all broken specimens and on a sample of sound ones
(``--sample N``: every N-th of the broken ones and every 4 N-th of the sound ones). A second record for ``tests.corpus.matrix``:
it says what attacks alone would have caught, and at which cost; the verdicts of the matrix do not rest on it.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from dpaudit.contract import AuditBrokenError
from dpaudit.empirical import GATE, attack
from dpaudit.probe import load_source, measure

from .configs import config
from .run import FOLDER, Specimen, specimens

SECONDS = 6.0
_SOUND_EVERY = 4


def sampled(every: int, only: str = "") -> tuple[Specimen, ...]:
    """Every so many of the broken specimens, and fewer of the sound ones."""
    chosen = specimens(only)
    broken = [one for one in chosen if not one.sound][::every]
    sound = [one for one in chosen if one.sound][:: _SOUND_EVERY * every]
    return tuple(one for one in chosen if one in broken or one in sound)


def examine_empirically(specimen: Specimen, seconds: float) -> dict[str, Any]:
    """One attack. ``said``: ``caught``, ``missed``, ``passed``, ``false alarm``, or ``not played`` with the reason."""
    started = _processor_seconds()
    source, run = load_source(str(FOLDER / "mechanisms" / specimen.path)), config(specimen.config)
    reason, lower, refuted = "", None, False
    try:
        result = attack(source, run, measure(source, run), budget_seconds=seconds, effort=GATE, modes=("step",))
    except AuditBrokenError as error:
        said, reason = "not played", str(error)[:200]
    else:
        refuted, lower = any(finding.refutes for finding in result.findings), result.epsilon_lower
        reason = result.summary[:200]
        said = ("false alarm" if refuted else "passed") if specimen.sound else "caught" if refuted else "missed"
    return {
        "path": specimen.path,
        "sound": specimen.sound,
        "said": said,
        "epsilon_lower": lower,
        "reason": reason,
        "seconds": round(_processor_seconds() - started, 2),
    }


def _processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main() -> int:
    """Exit 1 if a sound specimen is refuted."""
    parser = argparse.ArgumentParser(description="attack the corpus")
    parser.add_argument("--only", default="", help="part of a path")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every N-th broken specimen (default: all)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="budget of one attack, wall time")
    parser.add_argument("--out", required=True, help="JSON file, written after each specimen")
    arguments = parser.parse_args()
    chosen = sampled(arguments.sample, arguments.only)
    if not chosen:
        parser.error(f"no specimen's path contains {arguments.only!r}")
    rows: list[dict[str, Any]] = []
    for specimen in chosen:
        row = examine_empirically(specimen, arguments.seconds)
        rows.append(row)
        print(f"{row['said']:11} {row['seconds']:5.1f} s  {row['path']}", flush=True)
        record = {"every": arguments.sample, "budget_seconds": arguments.seconds, "rows": rows}
        Path(arguments.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["said"] == "false alarm" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
