"""Dirac canaries in one run of the ideal DP-SGD, several on one coordinate: how much does one run prove?

The setting of Keinan, Shenfeld and Ligett 2025 (epsilon 2, d = 1,000, T = 100, q = 0.1; they report 0.49 with one canary on each
coordinate and 0.62 with eight): every coordinate of every release is the sum of the signs of its canaries that are in and drawn,
plus noise. Bounds at 95 %, mean over seeded runs.

    python benchmarks/one_run_dirac.py
"""

import argparse

import numpy as np

from dpaudit.accounting import calibrate_noise_multiplier
from dpaudit.contract import Cell, EventTrace
from dpaudit.empirical import Design, bounds_on
from dpaudit.empirical.canary_scores import likelihood_scores
from dpaudit.empirical.scores import Scores

EPSILON, DELTA = 2.0, 1e-5
COORDINATES, STEPS, Q = 1_000, 100, 0.1
METHODS = ("steinke", "one_run_fdp", "one_run_fdp_accountant")


def play(sigma: float, per_coordinate: int, seed: int) -> Scores:
    """One run; scores are those of the white box of ``dpaudit attack --mode train``."""
    generator = np.random.default_rng(seed)
    count = COORDINATES * per_coordinate
    place = np.arange(count) // per_coordinate
    signs, member = generator.choice([-1.0, 1.0], count), generator.random(count) < 0.5
    products = np.empty((count, STEPS))
    for step in range(STEPS):
        drawn = member & (generator.random(count) < Q)
        release = np.bincount(place, weights=signs * drawn, minlength=COORDINATES)
        products[:, step] = signs * (release + sigma * generator.standard_normal(COORDINATES))[place]
    scores = likelihood_scores(products, np.ones_like(products), sampling_probability=Q)
    return Scores(inside=scores[member], outside=scores[~member])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--per-coordinate", type=int, nargs="+", default=[1, 8])
    arguments = parser.parse_args()
    sigma = calibrate_noise_multiplier(
        target_epsilon=EPSILON,
        delta=DELTA,
        cell=Cell(),
        sampling_probability=Q,
        steps=STEPS,
        steps_per_epoch=STEPS,
        batch_size=100,
        dataset_size=1_000,
    ).noise_multiplier
    trace = EventTrace(cell=Cell(), sampling_probability=Q, sigmas=(sigma,) * STEPS)
    print(f"epsilon {EPSILON:g}, delta {DELTA:g}, sigma {sigma:.4f}, {arguments.runs} runs each")
    print(f"{'a coordinate':<14}" + "".join(f"{name:>24}" for name in METHODS))
    for per_coordinate in arguments.per_coordinate:
        found = [
            [
                bound.epsilon
                for bound in bounds_on(
                    play(sigma, per_coordinate, seed),
                    delta=DELTA,
                    level=0.05,
                    design=Design.ONE_RUN,
                    methods=METHODS,
                    trace=trace,
                )
            ]
            for seed in range(arguments.runs)
        ]
        print(f"{per_coordinate:<14}" + "".join(f"{value:>24.3f}" for value in np.mean(found, axis=0)), flush=True)


if __name__ == "__main__":
    main()
