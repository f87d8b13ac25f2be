"""Text of others within Markdown: characters that Markdown or HTML would act on are escaped."""

import re
from collections.abc import Iterator

from .untrusted import shortened, visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def code(command: str) -> Iterator[str]:
    """A command as an indented block: no fence that its text could close."""
    yield ""
    yield f"    {visible(command, lines=False)}"


def paragraph(text: str) -> str:
    """Text on one line, shortened."""
    return escaped(visible(" ".join(shortened(text).split()), lines=False))


def escaped(text: str) -> str:
    """Text that stays text."""
    return _SPECIAL.sub(r"\\\1", text)
