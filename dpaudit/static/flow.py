"""The data flow of a candidate by its lines: what is private, what is noise, what is released, and what bounds it."""

import math
from typing import Any

from dpaudit.contract import PlainData

from .explain import readable
from .refusal import Refusal
from .schedule import Schedule
from .session import Session


def line_notes(schedule: Schedule) -> dict[str, PlainData]:
    """For every line of the candidate: what is private there, what is noise, what is released, and what bounds it."""
    if not schedule.results:
        return {}
    notes = _notes_of(schedule.results[0][1].session)
    for step, result in schedule.results:
        for line in sorted({r.line for r in result.session.releases if r.line is not None}):
            found = [c for c in result.coordinates if c.line == line]
            bound = math.sqrt(sum(p.copies * p.supremum_squared for p in result.worst))
            text = f"released as at step {step}: contribution over noise, jointly with all else, at most {bound:.6g}"
            if found:
                text += f"; one sample adds {readable(result.session, found[0].contribution)[:200]}"
                text += f", noise std {readable(result.session, found[0].noise_std)[:100]}"
            notes.setdefault(str(line), []).append(text)  # type: ignore[union-attr]
    return notes


def flow_until(refusal: Refusal) -> dict[str, PlainData]:
    """For every line that ran before a refusal: what is private there, what is noise, and what was released.

    Empty where the source was refused before anything ran. What is said holds up to the refusal and proves nothing.
    """
    session = refusal.session
    if not isinstance(session, Session):
        return {}
    notes = _notes_of(session)
    for release in session.releases:
        private = " + ".join(readable(session, x)[:120] for x, _ in release.private[:2])
        noise = " + ".join(readable(session, x)[:80] for x, _ in release.noise[:2])
        text = f"released: {private}{' + ...' if len(release.private) > 2 else ''}, under the noise {noise}"
        found = _texts(notes, release.line)
        if text not in found:
            found.append(text)
    _texts(notes, refusal.reason.line).append(f"REFUSED, {refusal.reason.rule}: {refusal.reason.message}")
    return dict(
        sorted(notes.items(), key=lambda item: (not item[0].isdigit(), int(item[0]) if item[0].isdigit() else 0))
    )


def _texts(notes: dict[str, PlainData], line: int | None) -> Any:
    return notes.setdefault("somewhere" if line is None else str(line), [])


def _notes_of(session: Session) -> dict[str, PlainData]:
    """By line, the last expression of every sort, with its range where it has one."""
    table = session.table
    last: dict[int, dict[str, int]] = {}
    for x, line in enumerate(table.lines):
        if line is not None and table.kind(x) != "c":
            last.setdefault(line, {})[_sort_of(table.touch[x], table.has_noise(x))] = x
    notes: dict[str, PlainData] = {}
    for line, sorts in sorted(last.items()):
        texts: list[PlainData] = []
        for name, x in sorts.items():
            low, high = table.range(x)
            within = f", within [{low:.6g}, {high:.6g}]" if math.isfinite(low) and math.isfinite(high) else ""
            texts.append(f"{name}: {readable(session, x)[:200]}{within}")
        notes[str(line)] = texts
    return notes


def _sort_of(touch: int, noisy: bool) -> str:
    if noisy:
        return "noise on private data" if touch else "noise"
    if not touch:
        return "public, not known in advance"
    return "private, of several samples" if touch & (touch - 1) else "private, of one sample"
