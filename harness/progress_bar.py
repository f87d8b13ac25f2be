"""The progress line on the terminal's standard error; nothing where that is no terminal."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class ProgressBar:
    """Shows the step, the last epoch's test accuracy and epsilon so far."""

    def __init__(self, *, title: str, total: int, done: int, enabled: bool) -> None:
        self.visible = enabled and sys.stderr.isatty()
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
            disable=not self.visible,
            transient=True,
        )
        self._task = self._bar.add_task(title, total=total, completed=done, status="")

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, count: int) -> None:
        """So many more are done."""
        if self.visible:
            self._bar.advance(self._task, count)

    def step(self) -> None:
        """One step is done."""
        if self.visible:
            self._bar.advance(self._task)

    def epoch(self, *, accuracy: float, epsilon: float | None) -> None:
        """An epoch is done."""
        spent = "unknown" if epsilon is None else f"at most {epsilon:.3f}"
        self._bar.update(self._task, status=f"test accuracy {accuracy:.2f} %, epsilon so far {spent}")
