"""The parent's side of the player: start it, give orders, check what comes back, stop it.

The candidate never runs here. Its process has a scrubbed environment, a temporary folder, and is killed with its whole group
when an order takes too long and at the end.
"""

import json
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import AuditBrokenError, RunConfig, Sampler
from dpaudit.contract.scratch import remove_tree
from dpaudit.probe import MechanismSource
from dpaudit.probe.isolated_process import START_LIMIT, IsolatedProcess

from .game import Setup, config_to_plain, setup_to_plain

Floats = NDArray[np.float64]


class CandidateFailed(Exception):
    """The candidate raised, hung, ended its process, or released something that is not finite.

    Attributes:
        rule: id of the rule broken. line: in the candidate's source, if known.
    """

    def __init__(self, rule: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.rule = rule
        self.line = line


class Stage:
    """A worker process that plays games with one candidate. Use as a context manager.

    Args:
        patience: seconds that an order may take beyond the time it was given.
        tick: called about five times a second while the worker is waited for.
        drawn: how batches are drawn in whole runs, where not by the declared sampler.
    """

    def __init__(
        self,
        source: MechanismSource,
        config: RunConfig,
        *,
        patience: float = 20.0,
        tick: Callable[[], None] | None = None,
        drawn: Sampler | None = None,
    ) -> None:
        self._source = source
        self._config = config
        self._patience = patience
        self._tick = tick
        self._drawn = drawn
        self._folder = Path(tempfile.mkdtemp(prefix="dpaudit-"))
        self._process: IsolatedProcess | None = None

    def __enter__(self) -> "Stage":
        home = self._folder
        (home / "work").mkdir()
        request = {
            "text": self._source.text,
            "path": self._source.path,
            "class_name": self._source.class_name,
            "config": config_to_plain(self._config, drawn=self._drawn),
        }
        (home / "request.json").write_text(json.dumps(request), encoding="utf-8")
        request_path = str(home / "request.json")
        self._process = IsolatedProcess("dpaudit.empirical.player", [request_path], home / "work", orders=True)
        answer = self._process.answer(START_LIMIT)
        if answer is None or "ready" not in answer:
            self._stop()
            raise AuditBrokenError(
                "attack: the player did not start; see that torch can be imported by " + sys.executable
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def sampler(self) -> Sampler:
        """How batches are really drawn in whole runs."""
        return self._drawn or self._config.cell.sampler

    @property
    def alive(self) -> bool:
        """Whether the worker can take another order."""
        return self._process is not None and self._process.alive

    def play(self, setup: Setup, *, world: int, trials: int, seed: int, until: float) -> tuple[Floats, float]:
        """(releases, seconds): see :meth:`player.Player.play`. At least one trial, at most ``trials``.

        Raises:
            CandidateFailed: no usable releases came back through the candidate's doing.
            AuditBrokenError: through ours.
        """
        process = self._process
        if process is None:
            raise AuditBrokenError("attack: the player is not running")
        order = {
            "setup": setup_to_plain(setup), "world": world, "trials": trials, "seed": seed, "until": until,
        }  # fmt: skip
        if not process.order(order):
            raise CandidateFailed("DPA013", "the mechanism ended its process")
        answer = process.answer(until + self._patience, tick=self._tick)
        if answer is None:
            hung = process.hung
            self._stop()
            what = f"did not return within {until + self._patience:g} s" if hung else "ended its process"
            raise CandidateFailed("DPA013", f"the mechanism {what}")
        if "problem" in answer:
            rule, message, line = answer["problem"]
            raise CandidateFailed(str(rule), str(message), line if isinstance(line, int) else None)
        if "fault" in answer:
            raise AuditBrokenError(f"attack: the player failed: {answer['fault']}")
        return self._load(str(answer["file"]), setup, trials), float(answer["seconds"])

    def _load(self, name: str, setup: Setup, trials: int) -> Floats:
        path = self._folder / "work" / Path(name).name
        try:
            if not stat.S_ISREG(path.lstat().st_mode):  # a pipe would never end, a link lead elsewhere
                raise OSError(f"{path.name} is no regular file")
            played: Floats = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise AuditBrokenError(f"attack: the player's file cannot be read: {error}") from None
        path.unlink()
        if played.ndim != 3 or not 1 <= len(played) <= trials or played.shape[1] != setup.steps:
            raise AuditBrokenError(f"attack: the player sent an array of shape {played.shape}")
        if not np.isfinite(played).all():
            raise CandidateFailed("DPA014", "the released update is not finite")
        return played.astype(np.float64)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.stop()
        remove_tree(self._folder)
