"""How tight are the lower bounds? The ideal Gaussian game, beside published formulas and their invalid results.

Run: ``python benchmarks/lower_bounds.py [--games 20] [--canaries 5000] [--peer-python PYTHON]``. Prints tables in Markdown.

``--peer-python`` names the interpreter of an environment that has jax-privacy, which is no dependency and cannot share ours
(``uv venv peer && VIRTUAL_ENV=peer uv pip install jax-privacy``): it is given the same scores. Without it the second
table is left out, and the reason is printed.

Two published practices are restated here: "INVALID" marks what does not cover (the best threshold chosen after looking, the
absolute value of mu). A bound whose share above the truth exceeds the band of its level is marked INVALID by measurement.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import binom

from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.empirical import Design, Scores, bounds_on, checked
from dpaudit.empirical.rectangle import Tally, clopper_pearson_epsilon
from dpaudit.empirical.thresholds import tally_at

Floats = NDArray[np.float64]

DELTA, LEVEL = 1e-5, 0.05
TARGETS = {
    "gdp": (0.51, 1.44, 3.32, 7.09),
    "one_run_fdp": (0.25, 0.68, 2.06, 4.45),
    "steinke": (0.19, 0.54, 1.53, 2.99),
    "clopper_pearson": (0.15, 0.47, 1.30, 2.77),
}
"""Published figures at epsilon 1, 2, 4, 8: means of a few runs, 5,000 canaries, 95 %."""
EPSILONS = (1.0, 2.0, 4.0, 8.0)


def mu_of(epsilon: float) -> float:
    """mu of the Gaussian mechanism with this epsilon."""
    return float(brentq(lambda mu: gaussian_epsilon(mu, DELTA)[0] - epsilon, 1e-3, 10.0))


def game(mu: float, canaries: int, seed: int) -> Scores:
    """Scores of one game. Half in, half out: the counts that the published figures used."""
    generator = np.random.default_rng(seed)
    half = canaries // 2
    return checked(generator.normal(mu, 1, half), generator.normal(0, 1, half), where="game")


def ours(method: str) -> Callable[[Scores], float]:
    """A bound of this package."""
    design = Design.ONE_RUN if method in {"steinke", "one_run_fdp", "order_statistics"} else Design.INDEPENDENT
    return lambda scores: bounds_on(scores, delta=DELTA, level=LEVEL, design=design, methods=(method,))[0].epsilon


def over_all_thresholds(bound: Callable[[Tally], float]) -> Callable[[Scores], float]:
    """A published practice that does not cover: the largest bound over 200 thresholds, at the full level for each."""

    def best(scores: Scores) -> float:
        grid = np.quantile(np.concatenate([scores.inside, scores.outside]), np.linspace(0.001, 0.999, 200))
        return max(bound(tally_at(float(threshold), scores.inside, scores.outside)) for threshold in grid)

    return best


def absolute_gdp(tally: Tally) -> float:
    """A published mistake: |mu| instead of max(0, mu)."""
    rectangle = tally.rectangle(LEVEL)
    if rectangle.fpr >= 1 or rectangle.fnr >= 1:
        return 0.0
    return gaussian_epsilon(abs(float(ndtri(1 - rectangle.fpr) - ndtri(rectangle.fnr))), DELTA)[0]


PEERS: dict[str, Callable[[Scores], float]] = {
    "INVALID: CP, best threshold afterwards": over_all_thresholds(
        lambda tally: clopper_pearson_epsilon(tally.rectangle(LEVEL), DELTA)
    ),
    "INVALID: GDP, absolute value, best threshold": over_all_thresholds(absolute_gdp),
}


def main() -> None:
    """Print the table; exit 1 if a valid bound falls short of 0.9 of its published figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=20)
    parser.add_argument("--canaries", type=int, default=5000)
    parser.add_argument("--peer-python", metavar="PYTHON", help="interpreter that has jax-privacy")
    arguments = parser.parse_args()
    print(
        f"Mean of {arguments.games} games, {arguments.canaries} canaries, delta {DELTA:g}, level {LEVEL:g} (published)"
    )
    print(
        "| bound | null | eps 1 | eps 2 | eps 4 | eps 8 | largest share above the truth |\n|---|---|---|---|---|---|---|"
    )
    short = False
    for name in ("gdp", "one_run_fdp", "steinke", "clopper_pearson", "rank_test", "sequential"):
        short |= row(name, ours(name), TARGETS.get(name), arguments.games, arguments.canaries)
    for name, bound in PEERS.items():
        row(name, bound, None, arguments.games, arguments.canaries)
    print(f"\n{peer_table(arguments.peer_python, arguments.games, arguments.canaries)}")
    if short:
        raise SystemExit(1)


def peer_table(python: str | None, games: int, canaries: int) -> str:
    """The peer's bounds on the same scores, or why there are none."""
    if python is None:
        return "jax-privacy: skipped, --peer-python names no interpreter that has it"
    rows: dict[str, list[str]] = {}
    above: dict[str, float] = {}
    version = ""
    for epsilon in (0.0, *EPSILONS):
        mu = 0.0 if epsilon == 0 else mu_of(epsilon)
        played = [game(mu, canaries, seed) for seed in range(games)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "scores.npz"
            np.savez(file, inside=[one.inside for one in played], outside=[one.outside for one in played])
            script = Path(__file__).with_name("peer_bounds.py")
            done = subprocess.run(
                [python, str(script), str(file), str(DELTA), str(LEVEL)], capture_output=True, text=True, check=False
            )
        if done.returncode != 0:
            return f"jax-privacy: skipped, {python} could not run it: {done.stderr.strip().splitlines()[-1:]}"
        answer = json.loads(done.stdout)
        version = answer["version"]
        for method, values in answer["bounds"].items():
            rows.setdefault(method, []).append(f"{float(np.mean(values)):.2f}")
            above[method] = max(above.get(method, 0.0), float(np.mean(np.array(values) > epsilon + 1e-9)))
    band = float(binom.ppf(0.999, games, LEVEL)) / games
    lines = [
        f"jax-privacy {version}, same scores",
        "| bound | null | eps 1 | eps 2 | eps 4 | eps 8 | largest share above the truth |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for method, cells in rows.items():
        mark = " INVALID" if above[method] > band else ""
        lines.append(f"| {method}{mark} | " + " | ".join(cells) + f" | {above[method]:.2f} |")
    return "\n".join(lines)


def row(
    name: str, bound: Callable[[Scores], float], published: tuple[float, ...] | None, games: int, canaries: int
) -> bool:
    """Print one row; whether a mean falls below 0.9 of what was published."""
    cells, above, short = [], [], False
    for index, epsilon in enumerate((0.0, *EPSILONS)):
        mu = 0.0 if epsilon == 0 else mu_of(epsilon)
        found = [bound(game(mu, canaries, seed)) for seed in range(games)]
        mean = float(np.mean(found))
        above.append(float(np.mean(np.array(found) > epsilon + 1e-9)))
        if published is None or index == 0:
            cells.append(f"{mean:.2f}")
        else:
            cells.append(f"{mean:.2f} ({published[index - 1]:.2f})")
            short |= mean < 0.9 * published[index - 1]
    print(f"| {name} | " + " | ".join(cells) + f" | {max(above):.2f} |", flush=True)
    return short


if __name__ == "__main__":
    main()
