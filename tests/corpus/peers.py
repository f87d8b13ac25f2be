"""What peers offer, on a sample of the corpus: ``python -m tests.corpus.peers`` writes ``reports/catch-matrix/peers.md``.

Written from their published ideas, not their code; nothing of dpaudit is used but the specimens, every fifth of the key. Each is
run in this process: the specimens are ours.

- unit test: as projects test an optimiser of their own: zero gradients give the noise scale (within 10 %), a huge row without
  noise moves the release by at most C/B.
- record and replay: two neighbouring batches under one seed; the released updates differ by at most C/B (first and last step).
- one run (Steinke, Nasr and Jagielski 2023, theorem 5.2): fair coins decide which of m one-hot canaries take part in a run of
  all steps; whether so many right guesses refute the target at 5 %.
- GDP fit: rates of one threshold with and without a row, as auditing libraries turn them into mu, against the claimed multiplier.
"""

import importlib.util
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from .configs import SHAPES, config
from .run import FOLDER, Specimen, specimens

LEFT_OUT = ("by_thread", "by_time")
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


def one_run(make: Callable[..., Any], run: Any) -> bool:
    """One run of all steps with canaries on coordinates of their own."""
    generator = torch.Generator().manual_seed(3)
    coins = torch.rand(_CANARIES, generator=generator) < 0.5
    mechanism, total = make(), sum(math.prod(shape) for shape in SHAPES)
    score = torch.zeros(_CANARIES)
    torch.manual_seed(11)
    for step in range(run.total_steps):
        drawn = (torch.rand(_CANARIES, generator=generator) < run.sampling_probability) & coins
        rows = torch.eye(total)[:_CANARIES][drawn] * 10
        score += _flat(mechanism.clip_and_noise(_shaped(rows), step, run.epoch_of(step)))[:_CANARIES]
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


def gdp_fit(make: Callable[..., Any], run: Any) -> bool:
    """mu from rates of a threshold at the middle, upper 95 % limits, against that of the claimed multiplier."""
    row = torch.zeros(1, sum(math.prod(shape) for shape in SHAPES))
    row[0, 0] = 10.0
    absent = torch.stack([_flat(make().clip_and_noise(_rows(0.0), 0, 1))[0] for _ in range(_GAMES)])
    others = torch.zeros(_ROWS, row.shape[1])
    present = torch.stack(
        [_flat(make().clip_and_noise(_shaped(torch.cat([others, row])), 0, 1))[0] for _ in range(_GAMES)]
    )
    half = 0.5 / run.batch_size
    false, missed = int((absent > half).sum()), int((present <= half).sum())
    upper = [float(stats.beta.ppf(0.975, k + 1, _GAMES - k)) if k < _GAMES else 1.0 for k in (false, missed)]
    mu = float(stats.norm.isf(upper[0]) - stats.norm.ppf(upper[1]))
    return mu > 1 / run.noise_multiplier


PEERS = {"unit test": unit_test, "record and replay": record_and_replay, "one run": one_run, "GDP fit": gdp_fit}


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
    for name, peer in PEERS.items():
        started = time.process_time()
        torch.manual_seed(0)
        try:
            alarm = "alarm" if peer(_maker(specimen, run), run) else "passed"
        except Exception as error:
            alarm = f"raised {type(error).__name__}"
        said[name] = (alarm, time.process_time() - started)
    return said


def main() -> int:
    """Write the page."""
    chosen = [s for s in specimens()[::5] if not any(word in s.path for word in LEFT_OUT) and s.config != "long"]
    rows = [(specimen, verdicts(specimen)) for specimen in chosen]
    lines = [
        "# The same corpus under what peers offer",
        "",
        "Written by `python -m tests.corpus.peers`; its head says what each peer is. Re-implemented from published ideas: jax-privacy "  # noqa: E501
        "itself is not run, its kind of bound is the last column.",
        f"{len(rows)} mechanism files, every fifth of the key. A specimen on which a check raised counts as an alarm.",
        "",
        "| peer | broken caught | sound: false alarms | processor s a specimen |",
        "|---|---|---|---|",
    ]
    for name in PEERS:
        broken = [said[name] for specimen, said in rows if not specimen.sound]
        sound = [said[name] for specimen, said in rows if specimen.sound]
        seconds = sum(seconds for _, said in rows for _, seconds in [said[name]]) / len(rows)
        caught, false = sum(word != "passed" for word, _ in broken), sum(word != "passed" for word, _ in sound)
        lines.append(f"| {name} | {caught} of {len(broken)} | {false} of {len(sound)} | {seconds:.2f} |")
    lines += ["", f"| specimen | {' | '.join(PEERS)} |", "|---|" + "---|" * len(PEERS)]
    lines += [f"| {s.path.removesuffix('.py')} | {' | '.join(said[name][0] for name in PEERS)} |" for s, said in rows]
    path = Path(__file__).resolve().parents[2] / "reports" / "catch-matrix" / "peers.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[:14]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
