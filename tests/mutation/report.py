"""The report of a campaign on mechanisms: JSON of every mutant, and a page of Markdown."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@functools.cache
def _gate() -> bytes:
    """All of dpaudit's own code."""
    return b"".join(path.read_bytes() for path in sorted((ROOT / "dpaudit").rglob("*.py")))


def seen(text: str) -> str:
    """A hash of a mutant's text and of dpaudit's: what is on record of other texts says nothing."""
    return hashlib.sha256(text.encode() + _gate()).hexdigest()[:16]


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The mutants on record in a folder."""
    path = folder / "mechanisms.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["mutants"]) if path.is_file() else []


def write_report(folder: Path, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], *, drawn: int) -> None:
    """Write ``mechanisms.json`` and ``mechanisms.md`` into ``folder``. ``drawn``: mutants of the whole campaign."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"settings": dict(settings), "drawn": drawn, "mutants": list(rows)}
    (folder / "mechanisms.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "mechanisms.md").write_text(_page(rows, settings, drawn), encoding="utf-8")


def _page(rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], drawn: int) -> str:
    kept = [row for row in rows if row["equivalent"]]
    others = len(rows) - len(kept)
    killed = sum(bool(row["killed"]) for row in rows)
    whole = [row for row in rows if row["verdict"]]
    verdicts = {word: sum(row["verdict"] == word for row in whole) for word in ("REJECTED", "INCONCLUSIVE", "ACCEPTED")}
    lines = [
        "# Mutants of sound mechanisms",
        "",
        "Made by `python -m tests.mutation.mechanisms "
        + " ".join(f"--{name} {value}" for name, value in settings.items() if value != "")
        + " --out reports/mutation`.",
        "",
        f"{len(rows)} mutants. {len(kept)} keep the budget of their original: the static layer proves it, and an oracle that "
        f"shares no code with the gate finds nothing else. Of the other {others}, {killed} were killed (they cannot, or did not, "
        f"end ACCEPTED): **{killed / max(others, 1):.1%}**.",
        "",
        f"Whole audits of {len(whole)} mutants: {verdicts['REJECTED']} REJECTED with a witness, {verdicts['INCONCLUSIVE']} "
        f"INCONCLUSIVE, {verdicts['ACCEPTED']} ACCEPTED; wrong verdicts: {sum(bool(row['wrong']) for row in rows)}. Many of the "
        "INCONCLUSIVE ones raise, or overspend nothing.",
        "",
        "| operator | mutants | keep the budget | killed | wrong | audited wholly | REJECTED |",
        "|---|---|---|---|---|---|---|",
    ]
    if len(rows) < drawn:
        ended = f"Ended after {len(rows)} of the {drawn} mutants drawn: the first of that order, each operator in turn."
        lines[4:4] = [ended, ""]
    for operator in sorted({row["mutation"]["operator"] for row in rows}):
        group = [row for row in rows if row["mutation"]["operator"] == operator]
        audited = [row for row in group if row["verdict"]]
        cells = (
            operator, len(group), sum(bool(row["equivalent"]) for row in group), sum(bool(row["killed"]) for row in group),
            sum(bool(row["wrong"]) for row in group), len(audited), sum(row["verdict"] == "REJECTED" for row in audited),
        )  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "## Mutants that keep the budget, and wrong verdicts", ""]
    lines += ["Noise multiplier by the oracle.", ""]
    lines += ["| original | line | fault | oracle | remark | verdict | wrong |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row["equivalent"] or row["wrong"]:
            mutation = row["mutation"]
            oracle = "" if row["oracle"] is None else f"{row['oracle']:.4g}"
            what = str(mutation["what"]).replace("|", "/")
            cells = (
                row["original"],
                mutation["line"],
                what,
                oracle,
                row["flaw"],
                row["verdict"],
                "WRONG" if row["wrong"] else "",
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"
