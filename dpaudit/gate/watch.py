"""Whoever waits for an audit."""

from typing import Protocol

PROBE = "probe"
"""What :meth:`Watch.begin` is told when the probe starts; its ``advance`` counts steps."""


class Watch(Protocol):
    """Is told what is under way and how far it has come. Never asked for anything: an audit is the same without."""

    def begin(self, text: str) -> None:
        """The next piece of work."""
        ...

    def advance(self, done: int, total: int) -> None:
        """``done`` of ``total`` of it: steps, or seconds of the most that it may take."""
        ...
