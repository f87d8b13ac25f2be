"""``reports/catch-matrix/peers.md``: what the checks of peers said, with raises counted apart."""

from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[2] / "reports" / "catch-matrix" / "peers.md"

ASSUMES = {
    "unit test": "that the first release is the clipped sum plus noise over B, with noise of one scale in every coordinate that "
    "grows with the noise multiplier it is given",
    "record and replay": "that the release is linear in the sum, with the one bound C at every step and to 0.1 %, and draws the "
    "same random numbers from seeded global generators on both batches, so that a row moves it by at most C/B",
    "one run": "that the coins are fair and independent and a release is higher at the coordinate of a row that took part",
    "GDP fit": "that the first release is the mean over B with Gaussian noise, thresholded in the middle",
    "jax-privacy CP": "independent games at 5 % and, by the epsilon it is held to, that one release spends what one Gaussian of "
    "the claimed multiplier does",
    "jax-privacy GDP": "that scores are Gaussian; it takes the best threshold of the sample, so 5 % is not its level",
    "jax-privacy one run": "what our one run assumes; it guesses high scores alone and corrects their number by Bonferroni",
}
"""What each check takes for granted: a sentence after its name."""


def _alarmed(row: dict[str, Any], name: str) -> bool:
    return row["said"][name][0] == "alarm"


def _raised(row: dict[str, Any], name: str) -> bool:
    return row["said"][name][0].startswith("raised")


def _label(row: dict[str, Any]) -> str:
    return str(row["path"]).removesuffix(".py")


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """One line a check."""
    broken, sound = [row for row in rows if not row["sound"]], [row for row in rows if row["sound"]]
    lines = [
        "| check | broken: caught | broken: raised | sound: false alarms | sound: raised | processor s a specimen |",
        "|---|---|---|---|---|---|",
    ]
    for name in rows[0]["said"]:
        cells = [
            f"{sum(counts(row, name) for row in group)} of {len(group)}"
            for group in (broken, sound)
            for counts in (_alarmed, _raised)
        ]
        seconds = sum(row["said"][name][1] for row in rows) / len(rows)
        lines.append(f"| {name} | {' | '.join(cells)} | {seconds:.2f} |")
    return lines


def assumptions(rows: list[dict[str, Any]]) -> list[str]:
    """For each check what it assumes, and on which sound specimens it gave an alarm."""
    lines = []
    for name in rows[0]["said"]:
        which = ", ".join(_label(row) for row in rows if row["sound"] and _alarmed(row, name))
        lines.append(
            f"- **{name}** assumes {ASSUMES[name]}. "
            + (f"False alarms, where that is not so or by chance: {which}." if which else "No false alarm.")
        )
    return lines


def raises(rows: list[dict[str, Any]]) -> list[str]:
    """Every raise with its reason."""
    lines = [
        f"- {_label(row)} ({'sound' if row['sound'] else 'broken'}), {name}: {row['said'][name][0].removeprefix('raised ')}"
        for row in rows
        for name in row["said"]
        if _raised(row, name)
    ]
    return lines or ["None."]


def controlled(controls: dict[str, dict[str, tuple[str, float]]]) -> list[str]:
    """One line a check: what it says of releases without noise, in several runs."""
    names = next(iter(controls.values()))
    return [
        f"| check | {' | '.join(controls)} |",
        "|---|" + "---|" * len(controls),
        *(f"| {name} | {' | '.join(said[name][0] for said in controls.values())} |" for name in names),
    ]


def page(
    rows: list[dict[str, Any]],
    controls: dict[str, dict[str, tuple[str, float]]],
    with_jax: bool,
    notes: tuple[str, ...] = (),
) -> str:
    """The whole page."""
    names = list(rows[0]["said"])
    missing = "" if with_jax else " jax-privacy was not installed: its columns are left out."
    return "\n".join(
        [
            "# The same corpus under what peers offer",
            "",
            "Written by `python -m tests.corpus.peers`; its head says what each check is. Columns of jax-privacy are the library "
            "itself (2.0.0), the others are written from published ideas." + missing,
            f"All {len(rows)} mechanism files, each check in a process of its own. Mechanisms get what the interface promises: "
            "steps in order, B rows or as many as Poisson sampling draws from the N examples of their run, an empty batch only "
            "where it was drawn. A check that raised neither caught nor passed. Statistical checks are at 5 %, one look each; "
            "dpaudit's own gate rejects at 1e-6.",
            "",
            *summary(rows),
            "",
            "## What each check assumes, and its false alarms",
            "",
            *assumptions(rows),
            "",
            "## Raised",
            "",
            "(mechanism): by the specimen's own code, on rows as promised. (check): by the check or its game. (limit): cut off.",
            "",
            *raises(rows),
            "",
            "## Control: the clipped mean without any noise",
            "",
            "What the checks could find at all, in the runs of the corpus. In the usual run (`default`) an example is in 0.8 of "
            "the 40 batches on average and often in none, so one run of it tells little about who took part even without noise. "
            "Record and replay does not look at the noise.",
            "",
            *notes,
            *controlled(controls),
            "",
            "## All",
            "",
            f"| specimen | {' | '.join(names)} |",
            "|---|" + "---|" * len(names),
            *(
                f"| {_label(row)} | {' | '.join(row['said'][name][0].split(':')[0] for name in names)} |"
                for row in rows
            ),
            "",
        ]
    )
