"""The catch matrix: ``python -m tests.corpus.matrix MECHANISMS.json... --runs RUNS.json --minutes M [--empirical FILE]``.

Takes what ``tests.corpus.run --out`` and ``tests.corpus.run_level --out`` wrote (of several files of the first kind a later
one wins), and what ``tests.corpus.empirical --out`` wrote of attacks; writes ``reports/catch-matrix/`` and the headline numbers
of the README between its two markers. The numbers are computed here and nowhere else; a test compares README, matrix and record.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statsmodels.stats.proportion import proportion_confint

from .run import specimens

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "reports" / "catch-matrix"
RECORD = OUT / "record.json"
BEGIN, END = "<!-- catch matrix: begin -->", "<!-- catch matrix: end -->"
LAYERS = ("static", "properties", "replay")

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A count of errors among specimens, with its two-sided 95 % Clopper-Pearson interval.

    The interval is that of a population of which the specimens were a random sample; they were chosen, so it says how little so
    many specimens can show, and no more.
    """

    errors: int
    of: int

    def __str__(self) -> str:
        low, high = proportion_confint(self.errors, self.of, alpha=0.05, method="beta") if self.of else (0.0, 1.0)
        return f"{self.errors} of {self.of} (95 %: {100 * low:.1f} to {100 * high:.1f} %)"


def cell(row: Row, layer: str) -> str:
    """What one layer made of one mechanism file.

    ``caught``: the layer holds a witness. ``blocked``: it has none, and without its consent nothing is ACCEPTED. ``missed``: it
    let the specimen pass. On sound ones anything but a pass is a false alarm.
    """
    outcome = row["layers"].get(layer, {}).get("outcome", "not run")
    if row["sound"]:
        return "passed" if outcome == "passed" else "false alarm"
    if layer == "static":
        upper = row["epsilon"][1]
        return "missed" if outcome == "passed" and upper is not None and upper <= 3 else "blocked"
    witness = outcome == "violated" and (layer == "replay" or _refuted_by_properties(row))
    return "caught" if witness else "missed" if outcome == "passed" else "blocked"


def _refuted_by_properties(row: Row) -> bool:
    return any(rule.startswith("DPA2") for rule in row["refuting"])


def errors(rows: Sequence[Row]) -> dict[str, Rate]:
    """Both error rates, the gaps on either side, and evasions apart."""
    broken = [row for row in rows if not row["sound"]]
    usual = [row for row in broken if not row["path"].startswith("c37")]
    sound = [row for row in rows if row["sound"]]
    return {
        "broken specimens ACCEPTED": Rate(errors=sum(row["verdict"] == "ACCEPTED" for row in broken), of=len(broken)),
        "sound specimens REJECTED": Rate(errors=sum(row["verdict"] == "REJECTED" for row in sound), of=len(sound)),
        "broken specimens not REJECTED (class 37 apart)": Rate(
            errors=sum(row["verdict"] != "REJECTED" for row in usual), of=len(usual)
        ),
        "evasions (class 37) not REJECTED": Rate(
            errors=sum(row["verdict"] != "REJECTED" for row in broken)
            - sum(row["verdict"] != "REJECTED" for row in usual),
            of=len(broken) - len(usual),
        ),
        "sound specimens not ACCEPTED": Rate(errors=sum(row["verdict"] != "ACCEPTED" for row in sound), of=len(sound)),
        "rejections for another cause than the key names": Rate(
            errors=sum(row["verdict"] == "REJECTED" and not row["as_it_must"] for row in usual),
            of=sum(row["verdict"] == "REJECTED" for row in usual),
        ),
    }


def run_errors(rows: Sequence[Row]) -> dict[str, Rate]:
    """The same for run-level specimens."""
    broken, sound = [row for row in rows if not row["sound"]], [row for row in rows if row["sound"]]
    return {
        "broken runs with nothing found": Rate(errors=sum(row["said"] == "nothing" for row in broken), of=len(broken)),
        "sound runs rejected or held": Rate(errors=sum(row["said"] != "nothing" for row in sound), of=len(sound)),
        "broken runs held or refused without a witness": Rate(
            errors=sum(row["said"] in {"held", "refused"} for row in broken), of=len(broken)
        ),
        "findings of another cause than the key names": Rate(
            errors=sum(not row["as_it_must"] and row["said"] != "nothing" for row in broken), of=len(broken)
        ),
    }


def empirical_errors(record: dict[str, Any]) -> dict[str, Rate]:
    """What attacks alone made of the specimens that they were played on."""
    rows = record["rows"]
    broken, sound = [row for row in rows if not row["sound"]], [row for row in rows if row["sound"]]
    return {
        "broken specimens that attacks alone do not refute": Rate(
            errors=sum(row["said"] != "caught" for row in broken), of=len(broken)
        ),
        "sound specimens that attacks refute": Rate(
            errors=sum(row["said"] == "false alarm" for row in sound), of=len(sound)
        ),
    }


def merged(files: Sequence[Path]) -> list[Row]:
    """Rows of several records in the key's order; where two have a specimen, that of the later file."""
    found: dict[str, Row] = {}
    for file in files:
        found |= {row["path"]: row for row in json.loads(file.read_text(encoding="utf-8"))}
    wanted = {specimen.path: specimen for specimen in specimens()}
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise SystemExit(f"matrix: no record of {len(missing)} specimens: {', '.join(missing[:5])}")
    return [found[path] | {"as_it_must": _as_it_must(found[path], wanted[path])} for path in wanted]


def _as_it_must(row: Row, specimen: Any) -> bool:
    """By the key of today, which may be younger than the record."""
    if row["verdict"] not in specimen.verdicts:
        return False
    return row["verdict"] != "REJECTED" or not specimen.rules or any(rule in row["refuting"] for rule in specimen.rules)


def mechanism_table(rows: Sequence[Row], attacked: dict[str, Row]) -> str:
    """The matrix of mechanism files; ``attacked``: rows of the empirical record by path, empty where there is none."""
    lines = [
        "| specimen | true epsilon | static | properties | probe and replay | verdict | refuting | s | attack (sample) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        truth = row["epsilon_true"]
        seconds = sum(layer["seconds"] for layer in row["layers"].values())
        wrong = "" if row["as_it_must"] else " (!)"
        attack = attacked.get(row["path"])
        shown = "" if attack is None else f"{attack['said']}, {attack['seconds']:.0f} s"
        lines.append(
            f"| {row['path'].removesuffix('.py')} | {'none' if truth is None else f'{truth:.3g}'} | "
            + " | ".join(cell(row, layer) for layer in LAYERS)
            + f" | {row['verdict']}{wrong} | {', '.join(row['refuting'])} | {seconds:.0f} | {shown} |"
        )
    return "\n".join(lines)


def run_table(rows: Sequence[Row]) -> str:
    """The matrix of run-level specimens."""
    lines = ["| specimen | command | true epsilon | outcome | rules | processor s |", "|---|---|---|---|---|---|"]
    command = {"trace": "gate --ledger", "directory": "gate --ledger", "script": "gate --opacus", "network": "model"}
    for row in rows:
        truth = row["epsilon_true"]
        said = ("false alarm: " if row["sound"] and row["said"] != "nothing" else "") + row["said"]
        said = "missed" if not row["sound"] and row["said"] == "nothing" else said
        lines.append(
            f"| {row['name']} | {command[row['kind']]} | {'' if truth is None else f'{truth:.3g}'} | {said} | "
            f"{', '.join(row['rules'])} | {row['seconds']:.1f} |"
        )
    return "\n".join(lines)


def headline(record: dict[str, Any]) -> str:
    """What the README says."""
    mechanisms, runs = errors(record["mechanisms"]), run_errors(record["runs"])
    lines = [
        f"| {len(record['mechanisms'])} mechanism files, deterministic layers | |",
        "|---|---|",
        *(f"| {name} | {rate} |" for name, rate in mechanisms.items()),
        f"| **{len(record['runs'])} recorded runs, scripts and networks** | |",
        *(f"| {name} | {rate} |" for name, rate in runs.items()),
    ]
    if "empirical" in record:
        attacks = record["empirical"]
        lines.append(f"| **{len(attacks['rows'])} of the mechanism files, one-step attacks alone** | |")
        lines += [f"| {name} | {rate} |" for name, rate in empirical_errors(attacks).items()]
    minutes = record["processor_minutes"]
    lines.append(f"| processor time of all mechanism files | {minutes:.0f} minutes |")
    return "\n".join(lines)


def page(record: dict[str, Any]) -> str:
    """``README.md`` of the report."""
    rows = record["mechanisms"]
    gaps = [row for row in rows if not row["as_it_must"]]
    unproved = [row for row in rows if not row["sound"] and row["verdict"] != "REJECTED"]
    return (
        "\n\n".join(
            [
                "# Catch matrix",
                "Written by `python -m tests.corpus.matrix` from `record.json`; [the corpus](../../docs/corpus.md) says what the specimens are.",  # noqa: E501
                headline(record),
                "Intervals are Clopper-Pearson. The specimens were chosen and not drawn, so an interval says how little so many of them can "  # noqa: E501
                "show. Seconds are wall time of the layers on a busy machine of two cores.",
                "## Not as the key wants it",
                "\n".join(
                    f"- {row['path']}: {row['verdict']}: {row.get('reason') or ', '.join(row['rules'])}" for row in gaps
                )
                or "None.",
                "## Broken, and not rejected",
                "\n".join(f"- {row['path']}: {row.get('reason') or ', '.join(row['rules'])}" for row in unproved)
                or "None.",
                "## Mechanism files",
                "`caught`: the layer holds a witness; `blocked`: none, but without its consent nothing is ACCEPTED; `missed`: it let the specimen "  # noqa: E501
                "pass. `(!)`: not as the key wants it. The static layer never rejects: it proves, or it refuses.",
                _about_attacks(record),
                mechanism_table(rows, {row["path"]: row for row in record.get("empirical", {}).get("rows", [])}),
                "## Recorded runs, scripts and networks",
                "`rejected`: a witness; `held`: a finding worse than MINOR, no witness; `refused`: its files contradict each "
                "other; `nothing`: no such finding. Such an audit is never ACCEPTED, "
                "but for `dpaudit model`, whose exit code 0 is `nothing`.",
                run_table(record["runs"]),
            ]
        )
        + "\n"
    )


def _about_attacks(record: dict[str, Any]) -> str:
    attacks = record.get("empirical")
    if attacks is None:
        return "No attacks are on record (`python -m tests.corpus.empirical`)."
    seconds = sum(row["seconds"] for row in attacks["rows"])
    return (
        f"Last column: the empirical layer alone, one-step attacks with a budget of {attacks['budget_seconds']:g} s each at the "
        f"gate's level 1e-6 with confirmation, on one broken specimen in {attacks['every']} and fewer sound ones; processor "
        f"time {seconds / 60:.1f} minutes, probe included. `missed` says what so short an attack shows, and no more: most faults "
        "lie at steps, shapes or inputs that it does not play, or are too small for so few trials. Verdicts do not rest on it."
    )


def with_headline(readme: str, record: dict[str, Any]) -> str:
    """The README with its numbers renewed."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{headline(record)}\n{END}{after}"


def main() -> int:
    """Write the record, the page and the README's numbers."""
    parser = argparse.ArgumentParser(description="write the catch matrix")
    parser.add_argument("mechanisms", nargs="+", help="records of tests.corpus.run, later ones win")
    parser.add_argument("--runs", required=True, help="record of tests.corpus.run_level")
    parser.add_argument(
        "--minutes", type=float, required=True, help="processor minutes of the mechanism files (user + system)"
    )
    parser.add_argument("--empirical", help="record of tests.corpus.empirical")
    arguments = parser.parse_args()
    record = {
        "mechanisms": merged([Path(file) for file in arguments.mechanisms]),
        "runs": json.loads(Path(arguments.runs).read_text(encoding="utf-8")),
        "processor_minutes": arguments.minutes,
    }
    if arguments.empirical:
        record["empirical"] = json.loads(Path(arguments.empirical).read_text(encoding="utf-8"))
    OUT.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(
        json.dumps(record, separators=(",", ":"))
        .replace('},{"path"', '},\n{"path"')
        .replace('},{"name"', '},\n{"name"')
        + "\n"
    )
    (OUT / "README.md").write_text(page(record), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_headline(readme.read_text(encoding="utf-8"), record), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
