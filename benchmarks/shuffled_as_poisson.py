"""How many pairs of runs refute a Poisson claim when batches are shuffled? Ideal statistics, simulated noise.

Run: ``python benchmarks/shuffled_as_poisson.py [--runs 20000]``. Prints a table in Markdown. The other rows of a batch either
point against the canary (its place shows in both worlds) or are zeros (it shows where the canary is). Executed mechanisms
are attacked by ``dpaudit attack --mode run --drawn shuffle``.
"""

import argparse
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from dpaudit.contract import Cell, EventTrace
from dpaudit.empirical.accountant_family import most_right_pairs, optimistic_epsilon

Floats = NDArray[np.float64]

DELTA, LEVEL = 1e-5, 1e-6
SETTINGS = ((0.5, 1, 5), (0.25, 1, 5), (1.0, 1, 5), (0.5, 1, 234), (0.5, 5, 234), (0.6508, 5, 234))
"""Noise multiplier, epochs, batches an epoch."""
_CHUNK = 2000


def ratio(noise: Floats, shift: float, gap: float) -> Floats:
    """log-likelihood ratio [runs] of "one step an epoch is shifted by ``shift``" against "by ``gap``"."""
    with_canary = logsumexp(shift * noise - shift**2 / 2, axis=2)
    without = logsumexp(gap * noise - gap**2 / 2, axis=2)
    return np.asarray((with_canary - without).sum(axis=1))


def played(by: float, shift: float, gap: float, shape: tuple[int, int, int], generator: np.random.Generator) -> Floats:
    """Statistics of runs [runs, epochs, steps] in which one step an epoch is off by ``by``."""
    runs, epochs, steps = shape
    found = []
    for start in range(0, runs, _CHUNK):
        noise = generator.standard_normal((min(_CHUNK, runs - start), epochs, steps))
        place = generator.integers(steps, size=(*noise.shape[:2], 1))
        np.put_along_axis(noise, place, np.take_along_axis(noise, place, 2) + by, 2)
        found.append(ratio(noise, shift, gap))
    return np.concatenate(found)


def pairs_needed(trace: EventTrace, shift: float, gap: float, shape: tuple[int, int, int]) -> float:
    """Pairs after which the sequential pair test refutes on average, at the best threshold."""
    generator = np.random.default_rng(0)
    inside, outside = (played(by, shift, gap, shape, generator) for by in (shift, gap))
    thresholds = np.quantile(np.concatenate([inside, outside]), np.linspace(0.002, 0.998, 300))
    right = max(float((inside > at).mean() * (outside <= at).mean()) for at in thresholds)
    allowed = most_right_pairs(trace)
    if right <= allowed:
        return math.inf
    growth = right * math.log(right / allowed) + (1 - right) * math.log((1 - right) / (1 - allowed))
    return math.log(2 / LEVEL) / growth


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    runs = parser.parse_args().runs
    print(f"Pairs of runs for level {LEVEL:g}, {runs} simulated runs of each world, delta {DELTA:g}")
    print(
        "| sigma | epochs | batches | Poisson epsilon | others against the canary | others zero |\n|---|---|---|---|---|---|"
    )
    for sigma, epochs, steps in SETTINGS:
        trace = EventTrace(cell=Cell(), sampling_probability=1 / steps, sigmas=(sigma,) * (epochs * steps))
        shape = (runs, epochs, steps)
        facing, zero = (pairs_needed(trace, shift / sigma, gap / sigma, shape) for shift, gap in ((2, 1), (1, 0)))
        print(
            f"| {sigma:g} | {epochs} | {steps} | {optimistic_epsilon(trace, DELTA):.3g} | {facing:,.0f} | {zero:,.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
