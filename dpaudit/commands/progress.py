"""Progress on stderr: a bar for each audit that is under way on a terminal, nothing elsewhere."""

import sys
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


@dataclass(frozen=True, slots=True)
class Bar:
    """The bar of one audit. Safe to use from any thread."""

    progress: RichProgress
    task: TaskID
    name: str

    def begin(self, text: str) -> None:
        """Start on the next piece of work."""
        self.progress.reset(self.task, description=f"{self.name}: {text}", total=None)

    def advance(self, done: int, total: int) -> None:
        """Report ``done`` of ``total`` steps."""
        self.progress.update(self.task, completed=done, total=total)

    def say(self, text: str) -> None:
        """Name what is under way, without starting anew."""
        self.progress.update(self.task, description=f"{self.name}: {text}")

    def end(self) -> None:
        """Take the bar away."""
        self.progress.remove_task(self.task)


class Progress:
    """The bars of a whole run."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=quiet or not sys.stderr.isatty(),
        )

    def bar(self, name: str) -> Bar:
        """A new bar."""
        return Bar(self._bars, self._bars.add_task(name, total=None), name)

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
