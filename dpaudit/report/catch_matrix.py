"""The catch matrix: which layer caught which class of bug, from audits of specimens whose truth is known.

It is read from the rows that the corpus's runner writes (``python -m tests.corpus.run --out FILE``, see ``docs/corpus.md``).
The class of a specimen is the folder that it is in.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from dpaudit.contract import DataError, Layer, Outcome, Verdict

from .json_node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """One audited specimen: its class of bug, its truth, and what was said of it. A layer that did not run is absent."""

    group: str
    name: str
    sound: bool
    verdict: Verdict
    as_it_must: bool
    outcomes: dict[Layer, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one layer, or the verdict, did with the specimens of one class: how many of ``of`` it caught and held back."""

    caught: int
    held: int
    of: int

    @property
    def tone(self) -> str:
        """Style of the cell: all caught, none escaped, some escaped, or nothing looked at."""
        if not self.of:
            return "absent"
        if self.caught == self.of:
            return "all"
        return "part" if self.caught + self.held == self.of else "escaped"

    @property
    def words(self) -> str:
        """The cell as text."""
        if not self.of:
            return "-"
        return f"{self.caught}/{self.of}" + (f" +{self.held} held" if self.held else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """One class of bug. ``layers`` in the order of :class:`Layer`; ``wrong``: specimens not judged as they must be."""

    group: str
    layers: tuple[Cell, ...]
    verdict: Cell
    wrong: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchMatrix:
    """Rows for the broken specimens by class, and counts of verdicts on broken and on sound ones."""

    rows: tuple[MatrixRow, ...]
    broken: dict[Verdict, int]
    sound: dict[Verdict, int]
    wrong: tuple[str, ...]

    @property
    def words(self) -> str:
        """The whole matrix in two sentences."""
        return (
            f"{sum(self.broken.values())} broken specimens: {_counts(self.broken)}. "
            f"{sum(self.sound.values())} sound ones: {_counts(self.sound)}."
        )


def read_specimens(text: str, where: str) -> tuple[Specimen, ...]:
    """The rows of one file.

    Raises:
        DataError: it is no JSON list of such rows. The message names the place.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON of a catch matrix, got {error}") from None
    return tuple(_specimen(node) for node in Node(value=value, where=where).items())


def _specimen(node: Node) -> Specimen:
    if not isinstance(node.value, dict):
        node.refuse("a row of the corpus's runner")
    part = dict(node.mapping())
    for key in ("path", "sound", "verdict", "as_it_must", "layers"):
        if key not in part:
            raise DataError(
                f"{node.where}: expected a key {key!r}, got none; write the file with tests.corpus.run --out"
            )
    path = part["path"].text()
    group, _, name = path.rpartition("/")
    outcomes = {}
    for layer, said in part["layers"].mapping():
        known = Node(value=layer, where=f"{node.where}.layers").word(Layer)
        facts = dict(said.mapping())
        if "outcome" not in facts:
            raise DataError(f"{node.where}.layers.{layer}: expected a key 'outcome', got none")
        outcomes[known] = facts["outcome"].word(Outcome)
    return Specimen(
        group=group or path,
        name=name or path,
        sound=part["sound"].boolean(),
        verdict=part["verdict"].word(Verdict),
        as_it_must=part["as_it_must"].boolean(),
        outcomes=outcomes,
    )


def catch_matrix(specimens: Sequence[Specimen]) -> CatchMatrix:
    """Broken specimens by class, in the order of the classes' names."""
    broken = [specimen for specimen in specimens if not specimen.sound]
    sound = [specimen for specimen in specimens if specimen.sound]
    groups = sorted({specimen.group for specimen in broken})
    return CatchMatrix(
        rows=tuple(_row(group, [specimen for specimen in broken if specimen.group == group]) for group in groups),
        broken={verdict: sum(specimen.verdict is verdict for specimen in broken) for verdict in Verdict},
        sound={verdict: sum(specimen.verdict is verdict for specimen in sound) for verdict in Verdict},
        wrong=tuple(f"{specimen.group}/{specimen.name}" for specimen in specimens if not specimen.as_it_must),
    )


def matrix_text(matrix: CatchMatrix) -> str:
    """For a terminal: one line a class."""
    head = ("class of bug", *(layer.value for layer in Layer), "verdict")
    lines = [head, *((row.group, *(cell.words for cell in row.layers), row.verdict.words) for row in matrix.rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    table = ["  ".join(part.ljust(width) for part, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    wrong = [f"not as it must be: {name}" for name in matrix.wrong]
    return "\n".join([*table, "", matrix.words, *wrong]) + "\n"


def _row(group: str, specimens: Sequence[Specimen]) -> MatrixRow:
    cells = []
    for layer in Layer:
        outcomes = [specimen.outcomes[layer] for specimen in specimens if layer in specimen.outcomes]
        cells.append(
            Cell(
                caught=sum(outcome is Outcome.VIOLATED for outcome in outcomes),
                held=sum(_holds_back(outcome) for outcome in outcomes),
                of=len(outcomes),
            )
        )
    verdicts = [specimen.verdict for specimen in specimens]
    return MatrixRow(
        group=group.replace("_", " "),
        layers=tuple(cells),
        verdict=Cell(
            caught=verdicts.count(Verdict.REJECTED), held=verdicts.count(Verdict.INCONCLUSIVE), of=len(verdicts)
        ),
        wrong=sum(not specimen.as_it_must for specimen in specimens),
    )


def _holds_back(outcome: Outcome) -> bool:
    """Neither a witness nor a pass: such a layer keeps an audit from ACCEPTED, if it is a required one."""
    match outcome:
        case Outcome.INCONCLUSIVE | Outcome.ERRORED:
            return True
        case Outcome.PASSED | Outcome.VIOLATED | Outcome.NOT_APPLICABLE:
            return False
    assert_never(outcome)


def _counts(verdicts: dict[Verdict, int]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
