"""Reports on disk: the one place of this package that touches files."""

import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from dpaudit.contract import AuditReport, UsageError

from .catch_matrix import CatchMatrix
from .html import to_html, to_index_html
from .json_record import to_json
from .markdown import to_markdown
from .sarif import to_sarif
from .text import to_text

_LONGEST_NAME = 60
# Names that are taken here, or that some file systems refuse whatever the ending.
_TAKEN = frozenset(
    {"index", "report", "con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}
)


def write_reports(
    reports: Sequence[AuditReport], out: Path, *, docs_url: str | None = None, matrix: CatchMatrix | None = None
) -> tuple[Path, ...]:
    """Write ``report.json``, its other forms, ``index.html`` and one page an audit into ``out``; return their paths.

    Everything is rendered before anything is written, and each file appears whole or not at all: it is written beside its
    place and renamed. ``out`` is made if absent; files of an earlier run are replaced, others are left alone.

    Raises:
        UsageError: ``out`` cannot be made or written (no permission, a file in its place, a full disk). Names the path.
        AuditBrokenError: a report holds a NaN; nothing is written.
    """
    pages = page_names(report.mechanism for report in reports)
    contents = {
        "report.json": to_json(reports),
        "report.txt": to_text(reports),
        "report.md": to_markdown(reports),
        "report.sarif": to_sarif(reports, docs_url=docs_url),
        "index.html": to_index_html(reports, pages, matrix=matrix),
        **{page: to_html(report) for page, report in zip(pages, reports, strict=True)},
    }
    return tuple(write_text(out / name, text) for name, text in contents.items())


def write_text(path: Path, text: str) -> Path:
    """Write one file whole or not at all; its folder is made if absent.

    Raises:
        UsageError: the folder or the file cannot be written. Names the path.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path.parent, error) from error
    return _write(path, text)


def page_names(mechanisms: Iterable[str]) -> tuple[str, ...]:
    """A file name for each mechanism: readable, safe on every file system, unique even where letter case is ignored."""
    return tuple(_page_names(mechanisms))


def _page_names(mechanisms: Iterable[str]) -> Iterator[str]:
    used = set(_TAKEN)
    for mechanism in mechanisms:
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", mechanism)[:_LONGEST_NAME].strip("-") or "mechanism"
        name, number = stem, 1
        while name.lower() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.lower())
        yield f"{name}.html"


def _write(path: Path, text: str) -> Path:
    """Write ``text`` beside ``path`` and rename it into place; leave nothing behind on failure."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        # newline="": the same bytes on every system.
        with part.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise _unwritable(path, error) from error
    return path


def _unwritable(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"cannot write the report: expected to create {path}, got {error.strerror or error}; "
        "free some space or name another folder"
    )
