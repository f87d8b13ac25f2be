"""Plot: a picture of a report, in words too."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot (SVG, already escaped), its title, its content in words, and a legend of (mark's class, meaning)."""

    svg: str
    title: str
    words: str
    legend: tuple[tuple[str, str], ...] = ()
