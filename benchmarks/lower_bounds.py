"""How tight are the lower bounds? The ideal Gaussian game, beside published formulas and their invalid results.

Run: ``python benchmarks/lower_bounds.py [--games 20] [--canaries 5000]``. Prints one table in Markdown.

Peers' formulas are restated here from their papers, so that all see identical scores: jax-privacy is no dependency.
"INVALID" marks practices that do not cover: the best threshold chosen after looking, and the absolute value of mu.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

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
    arguments = parser.parse_args()
    print(
        f"Mean of {arguments.games} games, {arguments.canaries} canaries, delta {DELTA:g}, level {LEVEL:g} (published)"
    )
    print(
        "| bound | null | eps 1 | eps 2 | eps 4 | eps 8 | largest share above the truth |\n|---|---|---|---|---|---|---|"
    )
    short = False
    for name in ("gdp", "one_run_fdp", "steinke", "clopper_pearson", "sequential"):
        short |= row(name, ours(name), TARGETS.get(name), arguments.games, arguments.canaries)
    for name, bound in PEERS.items():
        row(name, bound, None, arguments.games, arguments.canaries)
    if short:
        raise SystemExit(1)


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
