"""What peers offer, on every mechanism file: ``python -m tests.corpus.peers`` writes ``reports/catch-matrix/peers.md``.

Written from their published ideas, not their code, but for the columns of jax-privacy, which are the library itself (extra
``peers``; left out with a note where it is not installed). Nothing of dpaudit is used but the specimens. Each specimen is run
in a process of its own with a limit: the specimens are ours.

- unit test: as projects test an optimiser of their own: zero gradients give the noise scale (within 10 %), a huge row without
  noise moves the release by at most C/B.
- record and replay: two neighbouring batches under one seed; the released updates differ by at most C/B (first and last step).
- one run (Steinke, Nasr and Jagielski 2023, theorem 5.2): fair coins decide which of m one-hot canaries take part in a run of
  all steps; whether so many right guesses refute the target at 5 %.
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

from .configs import SHAPES, config
from .run import FOLDER, Specimen, specimens

PAGE = Path(__file__).resolve().parents[2] / "reports" / "catch-matrix" / "peers.md"
LIMIT_SECONDS = 120.0
LEVEL = 0.05
_ROWS = 6
_CANARIES = 100
_GAMES = 300


def unit_test(make: Callable[..., Any], run: Any) -> bool:
    """Noise scale at the first step, and the clip of one huge row."""
    sigma, batch = run.noise_multiplier, run.batch_size
    releases = torch.stack([_flat(make().clip_and_noise(_rows(0.0), 0, 1)) for _ in range(40)])
    right_noise = abs(float(releases.std()) * batch / sigma - 1) < 0.1
    quiet = make(noise_multiplier=0.0).clip_and_noise(_rows(100.0, count=1), 0, 1)
    return not (right_noise and float(_flat(quiet).norm()) <= 1.001 / batch)


def record_and_replay(make: Callable[..., Any], run: Any) -> bool:
    """The same seed with and without a row, at two steps."""
    for step in (0, run.total_steps - 1):
        moved = []
        for count in (_ROWS, _ROWS + 1):
            torch.manual_seed(7)
            moved.append(_flat(make().clip_and_noise(_rows(5.0, count=count), step, run.epoch_of(step))))
        if not float((moved[0] - moved[1]).norm()) <= 1.001 / run.batch_size:
            return True
    return False


def run_game(make: Callable[..., Any], run: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of canaries on coordinates of their own after one run of all steps, and the coins that put them in."""
    generator = torch.Generator().manual_seed(3)
    coins = torch.rand(_CANARIES, generator=generator) < 0.5
    mechanism, total = make(), sum(math.prod(shape) for shape in SHAPES)
    score = torch.zeros(_CANARIES)
    torch.manual_seed(11)
    for step in range(run.total_steps):
        drawn = (torch.rand(_CANARIES, generator=generator) < run.sampling_probability) & coins
        rows = torch.eye(total)[:_CANARIES][drawn] * 10
        score += _flat(mechanism.clip_and_noise(_shaped(rows), step, run.epoch_of(step)))[:_CANARIES]
    return score, coins


def one_run(make: Callable[..., Any], run: Any) -> bool:
    """Guesses of the highest and the lowest scores of one run."""
    score, coins = run_game(make, run)
    order = score.argsort(descending=True)
    guessed = _CANARIES // 4
    right = int(coins[order[:guessed]].sum() + (~coins[order[-guessed:]]).sum())
    return refutes(2 * guessed, right, run.target_epsilon, _CANARIES, run.target_delta)


def refutes(guesses: int, right: int, epsilon: float, canaries: int, delta: float, level: float = 0.05) -> bool:
    """Theorem 5.2: whether so many right guesses have probability below the level under (epsilon, delta)."""
    law = stats.binom(guesses, math.exp(epsilon) / (1 + math.exp(epsilon)))
    beta = float(law.sf(right - 1))
    worst = max(((float(law.sf(right - i - 1)) - beta) / i for i in range(1, canaries + 1)), default=0.0)
    return min(1.0, beta + 2 * canaries * delta * max(0.0, worst)) < level


def step_game(make: Callable[..., Any], run: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinate 0 of the first release with a row on it, and without."""
    row = torch.zeros(1, sum(math.prod(shape) for shape in SHAPES))
    row[0, 0] = 10.0
    others = torch.zeros(_ROWS, row.shape[1])
    absent = torch.stack([_flat(make().clip_and_noise(_rows(0.0), 0, 1))[0] for _ in range(_GAMES)])
    present = torch.stack(
        [_flat(make().clip_and_noise(_shaped(torch.cat([others, row])), 0, 1))[0] for _ in range(_GAMES)]
    )
    return present, absent


def gdp_fit(make: Callable[..., Any], run: Any) -> bool:
    """mu from rates of a threshold at the middle, upper 95 % limits, against that of the claimed multiplier."""
    present, absent = step_game(make, run)
    half = 0.5 / run.batch_size
    false, missed = int((absent > half).sum()), int((present <= half).sum())
    upper = [float(stats.beta.ppf(0.975, k + 1, _GAMES - k)) if k < _GAMES else 1.0 for k in (false, missed)]
    mu = float(stats.norm.isf(upper[0]) - stats.norm.ppf(upper[1]))
    return mu > 1 / run.noise_multiplier


def jax_clopper_pearson(make: Callable[..., Any], run: Any) -> bool:
    """jax-privacy's bound at any threshold, Bonferroni over them."""
    auditor = _auditor(*step_game(make, run))
    return float(auditor.epsilon_clopper_pearson(LEVEL, run.target_delta)) > gaussian_epsilon(run)


def jax_gdp(make: Callable[..., Any], run: Any) -> bool:
    """jax-privacy's GDP estimate."""
    auditor = _auditor(*step_game(make, run))
    return float(auditor.epsilon_from_gdp(LEVEL, run.target_delta)) > gaussian_epsilon(run)


def jax_one_run(make: Callable[..., Any], run: Any) -> bool:
    """jax-privacy's one-run bound against the target of the whole run."""
    score, coins = run_game(make, run)
    auditor = _auditor(score[coins], score[~coins])
    return float(auditor.epsilon_one_run(LEVEL, run.target_delta)) > run.target_epsilon


def gaussian_epsilon(run: Any) -> float:
    """Epsilon of one release with the claimed multiplier at the target's delta (Balle and Wang 2018, theorem 5)."""
    mu = 1 / run.noise_multiplier

    def excess(epsilon: float) -> float:
        spent = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
        return float(spent) - float(run.target_delta)

    return float(optimize.brentq(excess, 0.0, 100.0))


def _auditor(inside: torch.Tensor, outside: torch.Tensor) -> Any:
    from jax_privacy.auditing import CanaryScoreAuditor

    return CanaryScoreAuditor(inside.double().numpy(), outside.double().numpy())


PEERS: dict[str, Callable[..., bool]] = {
    "unit test": unit_test,
    "record and replay": record_and_replay,
    "one run": one_run,
    "GDP fit": gdp_fit,
}
FROM_JAX: dict[str, Callable[..., bool]] = {
    "jax-privacy CP": jax_clopper_pearson,
    "jax-privacy GDP": jax_gdp,
    "jax-privacy one run": jax_one_run,
}
ASSUMES = {
    "unit test": "that the first release is the clipped sum plus noise over B, with noise of one scale in every coordinate, and "
    "that noise multiplier 0 gives a release without noise",
    "record and replay": "that the release is linear in the sum and draws the same random numbers on both batches, so that a row "
    "moves it by at most C/B",
    "one run": "that a release is a float tensor that a row moves at its own coordinate, for batches of any size",
    "GDP fit": "that the first release is the mean over B with Gaussian noise, thresholded in the middle",
    "jax-privacy CP": "nothing beyond the two sets of scores; independent games at 5 %",
    "jax-privacy GDP": "that scores are Gaussian; it takes the best threshold of the sample, so 5 % is not its level",
    "jax-privacy one run": "independent inclusion coins",
}


@functools.cache
def peers() -> dict[str, Callable[..., bool]]:
    """Those that can be run here."""
    return PEERS | (FROM_JAX if importlib.util.find_spec("jax_privacy") else {})


def _rows(norm: float, count: int = _ROWS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(_ROWS + 1, sum(math.prod(shape) for shape in SHAPES), generator=generator)[:count]
    return _shaped(norm * rows / rows.norm(dim=1, keepdim=True))


def _shaped(rows: torch.Tensor) -> list[torch.Tensor]:
    parts = rows.split([math.prod(shape) for shape in SHAPES], dim=1)
    return [part.reshape(len(rows), *shape) for part, shape in zip(parts, SHAPES, strict=True)]


def _flat(update: Any) -> torch.Tensor:
    return torch.cat([part.detach().reshape(-1).float() for part in update])


def _maker(specimen: Specimen, run: Any) -> Callable[..., Any]:
    found = importlib.util.spec_from_file_location("specimen", FOLDER / "mechanisms" / specimen.path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)

    def make(noise_multiplier: float = run.noise_multiplier) -> Any:
        return module.DPMechanism(
            run.max_grad_norm, noise_multiplier, 202, run.dataset_size, run.batch_size, run.epochs, run.target_epsilon,
            run.target_delta,
        )  # fmt: skip

    return make


def verdicts(specimen: Specimen) -> dict[str, tuple[str, float]]:
    """What each peer says of a specimen, and its processor seconds."""
    run, said = config(specimen.config), {}
    for name, peer in peers().items():
        started = time.process_time()
        torch.manual_seed(0)
        try:
            alarm = "alarm" if peer(_maker(specimen, run), run) else "passed"
        except Exception as error:
            alarm = f"raised {type(error).__name__}"
        said[name] = (alarm, time.process_time() - started)
    return said


def _send(specimen: Specimen, pipe: Any) -> None:
    pipe.send(verdicts(specimen))


def isolated_verdicts(specimen: Specimen) -> dict[str, tuple[str, float]]:
    """The same from a process of its own; one that ends or hangs raised at every peer."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(specimen, there), daemon=True)
    process.start()
    there.close()
    said = None
    try:
        if here.poll(LIMIT_SECONDS):
            said = here.recv()
    except EOFError:
        pass
    process.kill()
    process.join()
    return said or dict.fromkeys(peers(), ("raised (the process ended)", 0.0))


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """One line a peer."""
    lines = ["| peer | broken caught | sound: false alarms | processor s a specimen |", "|---|---|---|---|"]
    for name in rows[0]["said"]:
        broken = [row["said"][name] for row in rows if not row["sound"]]
        sound = [row["said"][name] for row in rows if row["sound"]]
        seconds = sum(row["said"][name][1] for row in rows) / len(rows)
        caught, false = sum(word != "passed" for word, _ in broken), sum(word != "passed" for word, _ in sound)
        lines.append(f"| {name} | {caught} of {len(broken)} | {false} of {len(sound)} | {seconds:.2f} |")
    return lines


def false_alarms(rows: list[dict[str, Any]]) -> list[str]:
    """For each peer with alarms on sound specimens: what it assumes, and on which."""
    lines = []
    for name in rows[0]["said"]:
        alarmed = [row for row in rows if row["sound"] and row["said"][name][0] != "passed"]
        if alarmed:
            which = ", ".join(
                row["path"].removesuffix(".py")
                + ("" if row["said"][name][0] == "alarm" else f" ({row['said'][name][0]})")
                for row in alarmed
            )
            lines.append(f"- **{name}** assumes {ASSUMES[name]}. Not so in, or by chance: {which}.")
    return lines or ["None."]


def page(rows: list[dict[str, Any]]) -> str:
    """``peers.md``."""
    names = list(rows[0]["said"])
    missing = "" if set(FROM_JAX) <= set(names) else " jax-privacy was not installed: its columns are left out."
    return "\n".join(
        [
            "# The same corpus under what peers offer",
            "",
            "Written by `python -m tests.corpus.peers`; its head says what each peer is. Columns of jax-privacy are the library "
            "itself (2.0.0), the others are written from published ideas." + missing,
            f"All {len(rows)} mechanism files, each in a process of its own. A specimen on which a check raised counts as an "
            "alarm. Statistical checks are at 5 %, one look each; dpaudit's own gate rejects at 1e-6.",
            "",
            *summary(rows),
            "",
            "## False alarms: what a check assumes",
            "",
            *false_alarms(rows),
            "",
            "## All",
            "",
            f"| specimen | {' | '.join(names)} |",
            "|---|" + "---|" * len(names),
            *(
                f"| {row['path'].removesuffix('.py')} | {' | '.join(row['said'][name][0] for name in names)} |"
                for row in rows
            ),
            "",
        ]
    )


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description="the corpus under what peers offer")
    parser.add_argument("--only", default="", help="part of a path; prints, and leaves the page as it is")
    parser.add_argument("--out", help="also write what each said as JSON")
    arguments = parser.parse_args()
    if "jax-privacy CP" in peers():
        from jax_privacy import auditing  # noqa: F401 - once, before the forks
    rows = [{"path": one.path, "sound": one.sound, "said": isolated_verdicts(one)} for one in specimens(arguments.only)]
    if not rows:
        parser.error(f"no specimen's path contains {arguments.only!r}")
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not arguments.only:
        PAGE.write_text(page(rows), encoding="utf-8")
    print("\n".join(summary(rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
