"""Scores from anywhere: read, checked, joined to canaries by identifier.

Formats. ``.npz``: arrays ``score`` [n] (a number for each canary, larger = "in"), ``member`` [n] (1 or true = in, 0 or
false = out), and optionally ``id`` [n] (integers or text, unique). ``.csv`` with a header: columns ``score``, ``member`` and
optionally ``id``, all scores of the audit in one file; or two files, ``--in`` and ``--out``, with a column ``score`` and
optionally ``id``, unique over both.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import DataError, UsageError

Floats = NDArray[np.float64]

_TRUE = {"1", "true", "in"}
_FALSE = {"0", "false", "out"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scores:
    """Scores of canaries that were in and of canaries that were out. Build with :func:`checked` or a reader.

    Attributes:
        inside, outside: finite scores, larger where the attack believes "in".
    """

    inside: Floats
    outside: Floats


def checked(inside: Floats, outside: Floats, *, where: str) -> Scores:
    """Scores after checking.

    Raises:
        DataError: a side is empty, or a score is NaN or infinite.
    """
    for name, values in (("in", inside), ("out", outside)):
        if values.ndim != 1 or not len(values):
            raise DataError(
                f"{where}: expected at least one score that is {name!r}, got an array of shape {values.shape}"
            )
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            raise DataError(
                f"{where}: score number {int(bad[0]) + 1} of those {name!r} is {values[bad[0]]}, expected a finite number; "
                "a canary without a score cannot be left out, as that would bias the audit"
            )
    return Scores(inside=inside.astype(np.float64), outside=outside.astype(np.float64))


def read_npz(path: Path) -> Scores:
    """Scores of a ``.npz`` file.

    Raises:
        UsageError: no such file. DataError: it is malformed.
    """
    _require_file(path)
    try:
        with path.open("rb") as stream:
            data = np.load(stream, allow_pickle=False)
            if not isinstance(data, np.lib.npyio.NpzFile):
                raise ValueError("a single array")
            arrays = {name: data[name] for name in data.files}
    except ValueError:
        # numpy's own words advise to load objects, which would run code of whoever wrote the file
        raise DataError(
            f"{path}: expected an .npz file of plain arrays of numbers, got something else (or arrays of objects); write it "
            "again with numpy.savez and arrays of numbers"
        ) from None
    except Exception as error:  # a damaged archive raises many kinds
        raise DataError(
            f"{path}: expected an .npz file of plain arrays, got one that cannot be read: {error}"
        ) from None
    missing = {"score", "member"} - set(arrays)
    if missing:
        raise DataError(f"{path}: expected the arrays score and member, got {', '.join(sorted(arrays)) or 'none'}")
    score, member = arrays["score"], arrays["member"]
    ids = arrays.get("id")
    if score.ndim != 1 or score.shape != member.shape or (ids is not None and ids.shape != score.shape):
        raise DataError(
            f"{path}: expected score, member and id of one length, got {[a.shape for a in arrays.values()]}"
        )
    if not (np.issubdtype(score.dtype, np.floating) or np.issubdtype(score.dtype, np.integer)):
        raise DataError(f"{path}: expected numbers in the array score, got {score.dtype}")
    if not np.isin(member, (0, 1)).all():
        raise DataError(f"{path}: expected 0 or 1 in the array member")
    if ids is not None:
        _require_unique([str(value) for value in ids], str(path))
    called = member.astype(bool)
    return checked(score[called], score[~called], where=str(path))


def read_csv(path: Path) -> Scores:
    """Scores of one ``.csv`` file with a column ``member``.

    Raises:
        UsageError: no such file. DataError: it is malformed.
    """
    rows = _rows(path, {"score", "member"})
    sides: tuple[list[float], list[float]] = ([], [])
    for line, row in rows:
        word = row["member"].strip().lower()
        if word not in _TRUE | _FALSE:
            raise DataError(f"{path}, line {line}: expected member to be 1 or 0, got {row['member']!r}")
        sides[word in _TRUE].append(_number(row, path, line))
    _require_unique([row["id"] for _, row in rows if row.get("id")], str(path))
    return checked(np.array(sides[1]), np.array(sides[0]), where=str(path))


def read_csv_pair(inside: Path, outside: Path) -> Scores:
    """Scores of two ``.csv`` files, one for either side.

    Raises:
        UsageError: no such file. DataError: one is malformed, or an id occurs twice.
    """
    sides = {path: _rows(path, {"score"}) for path in dict.fromkeys((inside, outside))}
    if len(sides) < 2:
        raise UsageError(f"--in and --out: expected two different files, got {inside} twice")
    _require_unique(
        [row["id"] for rows in sides.values() for _, row in rows if row.get("id")], f"{inside} and {outside}"
    )
    values = [np.array([_number(row, path, line) for line, row in rows]) for path, rows in sides.items()]
    return checked(values[0], values[1], where=f"{inside} and {outside}")


def _rows(path: Path, needed: set[str]) -> list[tuple[int, dict[str, str]]]:
    _require_file(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            names = set(reader.fieldnames or ())
            if not needed <= names:
                raise DataError(f"{path}: expected a header with {', '.join(sorted(needed))}, got {sorted(names)}")
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file in UTF-8, got one that cannot be read: {error}") from None
    for line, row in rows:
        if None in row or any(row[name] is None for name in names):
            raise DataError(f"{path}, line {line}: expected {len(names)} fields, as in the header")
        if "id" in names and not row["id"].strip():
            raise DataError(f"{path}, line {line}: the id is empty")
    return rows


def _number(row: dict[str, str], path: Path, line: int) -> float:
    try:
        value = float(row["score"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{path}, line {line}: expected a finite score, got {row['score']!r}")
    return value


def _require_unique(ids: list[str], where: str) -> None:
    seen: set[str] = set()
    for value in ids:
        if value in seen:
            raise DataError(f"{where}: the id {value!r} occurs twice; every canary has one score")
        seen.add(value)


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise UsageError(f"scores: {path}: no such file")
