"""Transcripts in the documentation: pages are cut into files and commands, and what a command prints is held against the page."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


@dataclass(frozen=True, slots=True)
class File:
    """A file that the reader is to write; its first line names it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the lines that the page shows of its output; ``...`` stands for what is left out."""

    line: str
    printed: tuple[str, ...]


def steps(page: str) -> list[File | Command]:
    """Files and commands of a page of ``docs/``, in their order."""
    found: list[File | Command] = []
    for kind, text in re.findall(r"```(python|console)\n(.*?)```", (DOCS / page).read_text("utf-8"), re.S):
        if kind == "python":
            name = re.match(r"# file: (\S+)\n", text)
            assert name, f"{page}: a block of Python without '# file: NAME'"
            found.append(File(name[1], text))
            continue
        for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
            line, *printed = part.splitlines()
            found.append(Command(line, tuple(printed)))
    return found


def missing(command: Command, output: str) -> str:
    """The first line of the page that the program did not print, in its order; empty if there is none.

    ``...`` inside a line stands for any text.
    """
    lines = output.splitlines()
    place = 0
    for wanted in command.printed:
        if wanted == "...":
            continue
        pattern = re.compile(".*".join(map(re.escape, wanted.split("..."))))
        at = next((number for number in range(place, len(lines)) if pattern.fullmatch(lines[number])), None)
        if at is None:
            return wanted
        place = at + 1
    return ""
