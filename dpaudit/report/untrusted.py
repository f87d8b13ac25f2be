"""Text that came out of a candidate's code, made safe to look at.

A name or a message may hold terminal escapes, characters that reverse the reading direction, or a megabyte of one
letter. Escaping for a format (HTML, JSON) is that format's own business; this module makes the invisible visible.
"""

import unicodedata

MESSAGE_LIMIT = 4000
NAME_LIMIT = 120
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def visible(text: str, *, lines: bool = True) -> str:
    """``text`` with every control, format and surrogate character written as its escape.

    ``lines`` keeps line feeds and tabs as they are; without it they are written out too. The result encodes as UTF-8.
    """
    kept = "\n\t" if lines else ""
    return "".join(
        character
        if character in kept or unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shortened(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """``text``, or its first ``limit`` characters with a note of how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} [{len(text) - limit} more characters in report.json]"


def one_line(text: str, limit: int = NAME_LIMIT) -> str:
    """``text`` on one line, visible and no longer than ``limit``: for names and table cells."""
    flat = visible(" ".join(text.split()), lines=False)
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."
