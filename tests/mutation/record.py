"""The record of campaigns on dpaudit's own code: merged from several invocations, written as JSON and as a page."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .code_mutants import Mutant, source_hash

Row = dict[str, Any]


class Record:
    """Outcomes by mutant. Those of a module whose text has changed since are dropped when the record is read.

    Args:
        folder: of ``dpaudit.json`` and ``dpaudit.md``; ``None`` keeps nothing.
        known: reasons by :attr:`Mutant.key` why a survivor is equivalent.
    """

    def __init__(self, folder: Path | None, known: Mapping[str, str]) -> None:
        self._folder, self._known = folder, known
        self._rows: dict[tuple[str, int, int], Row] = {}
        path = None if folder is None else folder / "dpaudit.json"
        if path is not None and path.is_file():
            for row in json.loads(path.read_text(encoding="utf-8"))["mutants"]:
                if row["source"] == source_hash(row["module"]):
                    self._rows[row["module"], row["position"], row["variant"]] = row

    def of(self, mutant: Mutant) -> Row | None:
        """What is on record of it."""
        return self._rows.get((mutant.module, mutant.position, mutant.variant))

    def explained(self, mutant: Mutant) -> bool:
        """Whether it is known to be equivalent."""
        return bool(self._known.get(mutant.key))

    def add(self, mutant: Mutant, *, killed_by: str, mutants_in_all: int) -> bool:
        """Put it on record; whether it is a survivor that nobody has explained."""
        row = {
            "module": mutant.module, "position": mutant.position, "variant": mutant.variant, "line": mutant.line,
            "code": mutant.code, "what": mutant.what, "key": mutant.key, "killed_by": killed_by, "of": mutants_in_all,
            "source": source_hash(mutant.module),
        }  # fmt: skip
        self._rows[mutant.module, mutant.position, mutant.variant] = row
        return not killed_by and not self.explained(mutant)

    def write(self) -> None:
        """Both files, of everything on record."""
        if self._folder is None:
            return
        rows = [self._rows[key] for key in sorted(self._rows)]
        self._folder.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join("  " + json.dumps(row) for row in rows)
        (self._folder / "dpaudit.json").write_text(f'{{"mutants": [\n{lines}\n]}}\n', encoding="utf-8")
        (self._folder / "dpaudit.md").write_text(page(rows, self._known), encoding="utf-8")


def page(rows: Sequence[Row], known: Mapping[str, str]) -> str:
    """The record as Markdown."""
    dead = [row for row in rows if row["killed_by"]]
    same = [row for row in rows if not row["killed_by"] and known.get(row["key"])]
    open_ = len(rows) - len(dead) - len(same)
    lines = [
        "# Mutants of dpaudit's own code",
        "",
        "Made by `python -m tests.mutation.dpaudit --out reports/mutation` in several invocations; a row counts as long as the "
        "text of its module is the one that was mutated.",
        "",
        f"{len(rows)} mutants; {len(dead)} killed by the tests of their module, {len(same)} equivalent (below), {open_} survive "
        f"without an explanation. Of those that are not equivalent {len(dead) / max(1, len(rows) - len(same)):.1%} are killed.",
        "",
        "| module | mutants in all | run | | killed | equivalent | unexplained |",
        "|---|---|---|---|---|---|---|",
    ]
    for module in dict.fromkeys(row["module"] for row in rows):
        mine = [row for row in rows if row["module"] == module]
        killed, equal = sum(row in dead for row in mine), sum(row in same for row in mine)
        share = "whole" if len(mine) == mine[0]["of"] else "a sample"
        lines.append(
            f"| {module} | {mine[0]['of']} | {len(mine)} | {share} | {killed} | {equal} | {len(mine) - killed - equal} |"
        )
    lines += ["", "## Survivors", "", "| place | change | code | why it is equivalent |", "|---|---|---|---|"]
    for row in rows:
        if not row["killed_by"]:
            code = str(row["code"]).replace("|", "\\|")
            reason = known.get(row["key"], "") or "NOT EXPLAINED"
            lines.append(f"| {row['module']}:{row['line']} | {row['what']} | `{code}` | {reason} |")
    return "\n".join(lines) + "\n"
