"""The worker's entry: ``python -m dpaudit.empirical.player REQUEST`` plays games with one candidate.

Orders come as JSON lines on standard input: ``{"setup": ..., "world": 0|1, "trials": n, "seed": s, "until": seconds}``.
Answers go to the descriptor that was standard output: ``{"ready": true}``, then for each order ``{"played": n, "file": name,
"seconds": s}`` or ``{"problem": [rule, message, line]}`` or ``{"fault": text}``. The candidate's own output goes nowhere.
"""

import json
import os
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpaudit.contract.guard import Guard
from dpaudit.probe.loading import CandidateError, load_candidate
from dpaudit.probe.session import Constructor, Session
from dpaudit.probe.worker import Answers, confine
from dpaudit.probe.world import Snapshot, UncopyableState

from .batches import Batches
from .game import Run, Setup, setup_from_plain, small_shapes

Floats = NDArray[np.float64]

_MEMORY_MIB = 4096


class Player:
    """One candidate at one set of small shapes."""

    def __init__(self, request: dict[str, Any], *, wide: bool, few: bool) -> None:
        self.run = Run.from_plain(request["config"])
        self.shapes = small_shapes(self.run.parameter_shapes, wide=wide, few=few)
        self.batches = Batches(self.run, self.shapes)
        self.request = request
        self.session = self._fresh()
        self.starts: dict[int, Snapshot | None] = {}
        try:
            self.starts[0] = self.session.snapshot()
        except UncopyableState:
            self.starts[0] = None

    def _fresh(self) -> Session:
        run, request = self.run, self.request
        candidate = load_candidate(request["text"], request["path"], request["class_name"])
        constructor = Constructor(
            max_grad_norm=run.max_grad_norm,
            noise_multiplier=run.noise_multiplier,
            n_params=sum(self.batches.sizes),
            dataset_size=run.dataset_size,
            batch_size=run.batch_size,
            epochs=run.epochs,
            target_epsilon=run.target_epsilon,
            target_delta=run.target_delta,
        )
        return Session(candidate, constructor, self.shapes, dtype=torch.float32, seed=0)

    def _start_at(self, first_step: int) -> Snapshot | None:
        """The mechanism's world before a step: one history of all earlier steps, played once, without the canary.

        Trials from there are trials given that history, which is public. A step number is never shown to a mechanism
        that has not lived through the steps before it: one that counts for itself would be judged wrongly.
        """
        if first_step not in self.starts:
            self._begin(0, self.starts[0])
            stock = self.batches.stock(0.0, facing=False)
            quiet = Setup(steps=1)
            others = max(0, round(self.run.expected_batch) - 1)
            for step in range(first_step):
                self._release(self.batches.batch(stock, others=others, setup=quiet, world=0, present=False), step)
            try:
                self.starts[first_step] = self.session.snapshot()
            except UncopyableState as error:
                raise CandidateError(
                    "DPA012", f"its state before step {first_step} cannot be saved: {error}"
                ) from error
        return self.starts[first_step]

    def _begin(self, seed: int, start: Snapshot | None) -> None:
        """The mechanism as its start left it, and every default generator at a place of this trial's own.

        Generators that the mechanism itself seeds stay as it seeded them: a constant seed is its own doing.
        """
        if start is None:
            self.session = self._fresh()
        else:
            self.session.restore(start)
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the candidate may draw from the global generator
        random.seed(seed)

    def play(self, setup: Setup, world: int, trials: int, seed: int, until: float) -> Floats:
        """Releases of ``trials`` trials, or of as many as were complete ``until`` seconds after the start (at least one).

        Shape: [trials, steps, coordinates], or [trials, steps, 2] for sampled runs: the projection on the canary's
        direction, and the logarithm of the root mean square orthogonal to both directions. Units: those of the release
        times B / C, so that noise has about the noise multiplier as standard deviation.
        """
        stocks = {norm: self.batches.stock(norm, facing=setup.facing) for norm in set(setup.base_norms)}
        start = self._start_at(setup.first_step)
        deadline = time.monotonic() + until
        played: list[Floats] = []
        generator = np.random.default_rng(seed)
        for _ in range(trials):
            self._begin(int(generator.integers(2**62)), start)
            played.append(self._trial(setup, stocks, world, generator))
            if time.monotonic() > deadline:
                break
        return np.stack(played)

    def _trial(
        self, setup: Setup, stocks: dict[float, list[torch.Tensor]], world: int, generator: np.random.Generator
    ) -> Floats:
        releases = []
        for index, (others, present) in enumerate(self.batches.draw(setup, generator)):
            norm = setup.base_norms[min(index, len(setup.base_norms) - 1)]
            rows = self.batches.batch(stocks[norm], others=others, setup=setup, world=world, present=present)
            step = setup.first_step + index
            releases.append(self._release(rows, step))
        flat = torch.stack(releases) * (self.run.batch_size / self.run.max_grad_norm)
        return np.asarray(self._reduced(flat).numpy() if setup.sampled else flat.numpy())

    def _release(self, rows: list[torch.Tensor], step: int) -> torch.Tensor:
        return self.session.call_unwatched(rows, step, step // self.run.steps_per_epoch + 1)

    def _reduced(self, flat: torch.Tensor) -> torch.Tensor:
        along = flat @ self.batches.frame
        rest = flat - along @ self.batches.frame.T
        size = rest.square().mean(dim=1).clamp_min(1e-30).log() / 2
        return torch.stack([along[:, 0], size], dim=1)


def main() -> None:
    """Serve orders until standard input ends."""
    orders = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = Answers()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    guard = Guard(request["path"], Path.cwd())
    guard.install()
    confine(_MEMORY_MIB, file_mib=1024)
    answers.send({"ready": True})
    players: dict[tuple[bool, bool], Player] = {}
    for number, line in enumerate(orders):
        try:
            answers.send(_serve(json.loads(line), request, players, number))
        except CandidateError as error:
            answers.send({"problem": [error.rule, str(error)[:500], error.line]})
        except BaseException:
            answers.send_fault()
            return


def _serve(
    order: dict[str, Any], request: dict[str, Any], players: dict[tuple[bool, bool], Player], number: int
) -> dict[str, Any]:
    setup = setup_from_plain(order["setup"])
    shapes = (setup.wide, setup.few)
    if shapes not in players:
        players[shapes] = Player(request, wide=setup.wide, few=setup.few)
    started = time.monotonic()
    played = players[shapes].play(setup, order["world"], order["trials"], order["seed"], order["until"])
    name = f"played-{number}.npy"
    np.save(name, played, allow_pickle=False)
    return {"played": len(played), "file": name, "seconds": time.monotonic() - started}


if __name__ == "__main__":
    main()
