"""What peers offer, on every mechanism file: ``python -m tests.corpus.peers`` writes ``reports/catch-matrix/peers.md``.

Written from their published ideas, not their code, but for the columns of jax-privacy, which are the library itself (extra
``peers``; left out with a note where it is not installed). Nothing of dpaudit is used but the specimens and the facts of their
runs; every batch is one that the interface promises (:mod:`tests.corpus.peer_games`). Each check of each specimen is run in a
process of its own with a limit: the specimens are ours. A check that raised neither caught nor passed: it is counted apart.

- unit test: as projects test an optimiser of their own: zero gradients give the noise scale (within 10 %), a huge row next to no
  noise moves the release by at most C/B.
- record and replay: two neighbouring batches under one seed; the released updates differ by at most C/B (first and last step).
- one run (Steinke, Nasr and Jagielski 2023, theorem 5.2): fair coins decide which of m one-hot canaries are in the dataset of a
  run of all steps; whether so many right guesses refute the target at 5 %.
- GDP fit: rates of one threshold with and without a row, as auditing libraries turn them into mu, against the claimed multiplier.
- jax-privacy CP, GDP: ``CanaryScoreAuditor.epsilon_clopper_pearson`` and ``epsilon_from_gdp`` at 5 % on the scores of the game
  of the GDP fit, against the epsilon of one Gaussian release with the claimed multiplier.
- jax-privacy one run: ``CanaryScoreAuditor.epsilon_one_run`` at 5 % on the scores of the one-run game, against the target.
"""

import argparse
import functools
import importlib.util
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy import optimize, stats

from dpaudit.contract import RunConfig

from . import peers_page
from .configs import config
from .peer_games import (
    CANARIES,
    GAMES,
    QUIET,
    Maker,
    MechanismRaised,
    maker,
    ordinary,
    reason,
    run_game,
    seed,
    step_game,
    watched_maker,
    without_last,
    zeros,
)
from .run import Specimen, specimens

LIMIT_SECONDS = 120.0
LEVEL = 0.05

Said = dict[str, tuple[str, float]]
"""By check: ``alarm``, ``passed`` or ``raised (whose): reason``, and processor seconds."""


def unit_test(make: Maker, run: RunConfig) -> bool:
    """Noise scale at the first step, and the clip of one huge row."""
    releases = torch.stack([make().release(zeros(run)) for _ in range(40)])
    right_noise = abs(float(releases.std()) * run.batch_size / run.noise_multiplier - 1) < 0.1
    huge = zeros(run)
    huge[-1] = ordinary(1, 100.0, torch.Generator().manual_seed(1))[0]
    quiet = make(noise_multiplier=QUIET).release(huge)
    return not (right_noise and float(quiet.norm()) <= 1.001 / run.batch_size)


def record_and_replay(make: Maker, run: RunConfig) -> bool:
    """The same seed with and without a row, at the first and the last step of a run."""
    return not all(_moved(make, run, step) <= 1.001 / run.batch_size for step in (0, run.total_steps - 1))


def _moved(make: Maker, run: RunConfig, last: int) -> float:
    """By how much one row in the batch of one step moves that step's release, all else and all seeds the same."""
    releases = []
    for present in (True, False):
        generator, mechanism = torch.Generator().manual_seed(1), make()
        seed(7)
        for _ in range(last):
            mechanism.release(ordinary(run.batch_size, 5.0, generator))
        rows = ordinary(run.batch_size, 5.0, generator)
        releases.append(mechanism.release(rows if present else without_last(rows, run)))
    return float((releases[0] - releases[1]).norm())


def one_run(make: Maker, run: RunConfig) -> bool:
    """Guesses of the highest and the lowest scores of one run."""
    score, coins = run_game(make, run)
    order = score.argsort(descending=True)
    guessed = CANARIES // 4
    right = int(coins[order[:guessed]].sum() + (~coins[order[-guessed:]]).sum())
    return refutes(2 * guessed, right, run.target_epsilon, CANARIES, run.target_delta, LEVEL)


def refutes(guesses: int, right: int, epsilon: float, canaries: int, delta: float, level: float = 0.05) -> bool:
    """Theorem 5.2: whether so many right guesses have probability below the level under (epsilon, delta)."""
    law = stats.binom(guesses, math.exp(epsilon) / (1 + math.exp(epsilon)))
    beta = float(law.sf(right - 1))
    worst = max(((float(law.sf(right - i - 1)) - beta) / i for i in range(1, canaries + 1)), default=0.0)
    return min(1.0, beta + 2 * canaries * delta * max(0.0, worst)) < level


def gdp_fit(make: Maker, run: RunConfig) -> bool:
    """mu from rates of a threshold at the middle, upper 95 % limits, against that of the claimed multiplier."""
    present, absent = step_game(make, run)
    half = 0.5 / run.batch_size
    false, missed = int((absent > half).sum()), int((present <= half).sum())
    upper = [float(stats.beta.ppf(0.975, k + 1, GAMES - k)) if k < GAMES else 1.0 for k in (false, missed)]
    mu = float(stats.norm.isf(upper[0]) - stats.norm.ppf(upper[1]))
    return mu > 1 / run.noise_multiplier


def jax_clopper_pearson(make: Maker, run: RunConfig) -> bool:
    """jax-privacy's bound at any threshold, Bonferroni over them."""
    auditor = _auditor(*step_game(make, run))
    return float(auditor.epsilon_clopper_pearson(LEVEL, run.target_delta)) > gaussian_epsilon(run)


def jax_gdp(make: Maker, run: RunConfig) -> bool:
    """jax-privacy's GDP estimate."""
    auditor = _auditor(*step_game(make, run))
    return float(auditor.epsilon_from_gdp(LEVEL, run.target_delta)) > gaussian_epsilon(run)


def jax_one_run(make: Maker, run: RunConfig) -> bool:
    """jax-privacy's one-run bound against the target of the whole run."""
    score, coins = run_game(make, run)
    auditor = _auditor(score[coins], score[~coins])
    return float(auditor.epsilon_one_run(LEVEL, run.target_delta)) > run.target_epsilon


def gaussian_epsilon(run: RunConfig) -> float:
    """Epsilon of one release with the claimed multiplier at the target's delta (Balle and Wang 2018, theorem 5)."""
    mu = 1 / run.noise_multiplier

    def excess(epsilon: float) -> float:
        spent = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
        return float(spent) - float(run.target_delta)

    return float(optimize.brentq(excess, 0.0, 100.0))


def _auditor(inside: torch.Tensor, outside: torch.Tensor) -> Any:
    from jax_privacy.auditing import CanaryScoreAuditor

    return CanaryScoreAuditor(inside.double().numpy(), outside.double().numpy())


Check = Callable[[Maker, RunConfig], bool]

PEERS: dict[str, Check] = {
    "unit test": unit_test,
    "record and replay": record_and_replay,
    "one run": one_run,
    "GDP fit": gdp_fit,
}
FROM_JAX: dict[str, Check] = {
    "jax-privacy CP": jax_clopper_pearson,
    "jax-privacy GDP": jax_gdp,
    "jax-privacy one run": jax_one_run,
}
CONTROLLED = ("default", "sparse", "long")
"""Runs of the control: an example is in 0.8, 5 and 5 of their batches on average."""


@functools.cache
def peers() -> dict[str, Check]:
    """Those that can be run here."""
    return PEERS | (FROM_JAX if importlib.util.find_spec("jax_privacy") else {})


def judge(check: Check, load: Callable[[], Maker], run: RunConfig) -> tuple[str, float]:
    """What one check says of one mechanism, and its processor seconds."""
    started = time.process_time()
    seed(0)
    try:
        word = "alarm" if check(load(), run) else "passed"
    except MechanismRaised as error:
        word = f"raised (mechanism): {error}"
    except Exception as error:
        word = f"raised (check): {reason(error)}"
    return word, time.process_time() - started


def _send(name: str, specimen: Specimen, pipe: Any) -> None:
    run = config(specimen.config)
    pipe.send(judge(peers()[name], lambda: maker(specimen, run), run))


def isolated(name: str, specimen: Specimen, limit: float = LIMIT_SECONDS) -> tuple[str, float]:
    """The same in a process of its own; whose fault it is when that is cut off at the limit stays open."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(name, specimen, there), daemon=True)
    process.start()
    there.close()
    try:
        said = here.recv() if here.poll(limit) else (f"raised (limit): not done in {limit:.0f} s", limit)
    except EOFError:
        said = ("raised (mechanism): ended the process", 0.0)
    process.kill()
    process.join()
    return said


def isolated_verdicts(specimen: Specimen) -> Said:
    """What each check says of a specimen."""
    config(specimen.config)  # calibrated once, before the forks
    return {name: isolated(name, specimen) for name in peers()}


class WithoutNoise:
    """The control: clips, sums, divides by B, and adds nothing."""

    def __init__(self, *facts: Any) -> None:
        self.bound, self.batch_size = facts[0], facts[4]

    def clip_and_noise(self, per_sample_grads: list[torch.Tensor], step: int, epoch: int) -> list[torch.Tensor]:
        """The release."""
        norms = torch.cat([grad.flatten(1) for grad in per_sample_grads], dim=1).norm(dim=1)
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        return [torch.tensordot(weights, grad, dims=1) / self.batch_size for grad in per_sample_grads]


def control(run: RunConfig) -> Said:
    """What each check says of a release without noise, which any check ought to catch."""
    return {name: judge(check, lambda: watched_maker(WithoutNoise, run), run) for name, check in peers().items()}


def ceiling() -> tuple[str, ...]:
    """What the games of jax-privacy's Clopper-Pearson bound can show at most; a paragraph, or none without the library."""
    if "jax-privacy CP" not in peers():
        return ()
    run = config("default")
    apart = _auditor(torch.ones(GAMES), torch.zeros(GAMES))
    most = float(apart.epsilon_clopper_pearson(LEVEL, run.target_delta))
    return (
        f"With {GAMES} games a side jax-privacy's Clopper-Pearson bound cannot exceed {most:.1f}, and one release with the "
        f"multiplier of the usual run spends {gaussian_epsilon(run):.1f}: too few games for an alarm there.",
        "",
    )


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description="the corpus under what peers offer")
    parser.add_argument("--only", default="", help="part of a path; prints, and leaves the page as it is")
    parser.add_argument("--out", help="also write what each said as JSON")
    arguments = parser.parse_args()
    if set(FROM_JAX) <= set(peers()):
        from jax_privacy import auditing  # noqa: F401 - once, before the forks
    rows = []
    for one in specimens(arguments.only):
        rows.append({"path": one.path, "sound": one.sound, "said": isolated_verdicts(one)})
        if sys.stderr.isatty():
            print(f"\r{len(rows)} {one.path:60}", end="", file=sys.stderr)
    if not rows:
        parser.error(f"no specimen's path contains {arguments.only!r}")
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not arguments.only:
        controls = {name: control(config(name)) for name in CONTROLLED}
        text = peers_page.page(rows, controls, set(FROM_JAX) <= set(peers()), ceiling())
        peers_page.PAGE.write_text(text, encoding="utf-8")
    print("\n".join(peers_page.summary(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
