"""Progress on stderr: a bar on a terminal, nothing elsewhere."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Progress:
    """One bar that shows which mechanism is audited and how far its probe is."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._live = not quiet and sys.stderr.isatty()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, text: str) -> None:
        """Start on the next piece of work."""
        self._bar.reset(self._task, description=text, total=None)

    def advance(self, done: int, total: int) -> None:
        """Report ``done`` of ``total`` steps."""
        self._bar.update(self._task, completed=done, total=total)
