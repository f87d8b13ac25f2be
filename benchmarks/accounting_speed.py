"""Accounting speed: dpaudit's bracket against composing dp-accounting one distinct sigma after the other, in the same run.

    python benchmarks/accounting_speed.py [--steps 1170 10000] [--sample 40]

Composing T distinct sigmas one by one costs T constructions and T convolutions. That is timed on ``--sample`` of the sigmas and
scaled to T: the column says "extrapolated". It is a lower bound on the real time, since later convolutions are longer. Times are
processor seconds, so that other load on the machine counts little. Constant sigma: both sides run in full.
"""

import argparse
import math
import platform
import time
from collections.abc import Callable

import numpy as np
import scipy
from dp_accounting.pld import privacy_loss_distribution

from dpaudit.accounting import calibrate_noise_multiplier, epsilon_bracket
from dpaudit.accounting.tradeoff import tradeoff_curve
from dpaudit.contract import Cell, EventTrace

DELTA, GRID = 1e-5, 1e-4
"""GRID is the library's default value_discretization_interval."""


def cosine_schedule(steps: int, base: float) -> tuple[float, ...]:
    """Cosine from 1 to 0.65, the mean of 1/sigma^2 matched to ``base``: every sigma distinct."""
    shape = 0.65 + 0.35 * (1 + np.cos(np.pi * np.arange(steps) / (steps - 1))) / 2
    return tuple(float(sigma) for sigma in base * math.sqrt(np.mean(shape**-2.0)) * shape)


def seconds(run: Callable[[], object]) -> tuple[float, object]:
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def library_one_by_one(q: float, sigmas: tuple[float, ...]) -> float:
    composed = privacy_loss_distribution.identity(value_discretization_interval=GRID)
    for sigma in sigmas:
        step = privacy_loss_distribution.from_gaussian_mechanism(
            sigma, sampling_prob=q, value_discretization_interval=GRID
        )
        composed = composed.compose(step)
    return float(composed.get_epsilon_for_delta(DELTA))


def library_constant(q: float, sigma: float, steps: int) -> float:
    step = privacy_loss_distribution.from_gaussian_mechanism(sigma, sampling_prob=q, value_discretization_interval=GRID)
    return float(step.self_compose(steps).get_epsilon_for_delta(DELTA))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1170, 10_000], help="numbers of distinct sigmas")
    parser.add_argument("--sample", type=int, default=40, help="sigmas that the library really composes")
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    )
    print(f"{'case':<34}{'ours s':>9}{'bracket':>24}{'width':>9}{'library s':>12}{'ratio':>8}  how")
    q = 256 / 60000
    for sigma in (0.6508, 0.2385):
        trace = EventTrace(cell=Cell(), sampling_probability=q, sigmas=(sigma,) * 1170)
        ours, bracket = seconds(lambda trace=trace: epsilon_bracket(trace, DELTA))
        theirs, _ = seconds(lambda sigma=sigma: library_constant(q, sigma, 1170))
        show(f"constant {sigma}, T 1170", ours, bracket, theirs, "both in full")
    for steps in arguments.steps:
        sigmas = cosine_schedule(steps, 0.6508)
        trace = EventTrace(cell=Cell(), sampling_probability=q, sigmas=sigmas)
        ours, bracket = seconds(lambda trace=trace: epsilon_bracket(trace, DELTA))
        chosen = sigmas[:: max(steps // arguments.sample, 1)]
        theirs, _ = seconds(lambda chosen=chosen: library_one_by_one(q, chosen))
        show(
            f"{steps} distinct sigmas", ours, bracket, theirs * steps / len(chosen), f"extrapolated from {len(chosen)}"
        )
    taken, found = seconds(
        lambda: calibrate_noise_multiplier(
            target_epsilon=3.1, delta=DELTA, cell=Cell(), sampling_probability=256 / 50000, steps=5850
        )
    )
    print(f"calibration, CIFAR-10, 30 epochs: {taken:.2f} s, {found.noise_multiplier:.5f}")
    trace = EventTrace(cell=Cell(), sampling_probability=q, sigmas=(0.6508,) * 1170)
    alphas = np.linspace(0, 1, 400)
    first, _ = seconds(lambda: tradeoff_curve(trace, alphas, pessimistic=True))
    again, _ = seconds(lambda: tradeoff_curve(trace, alphas, pessimistic=True))
    print(f"trade-off curve, 400 points: {first:.3f} s with its compositions, {again:.3f} s after")


def show(case: str, ours: float, bracket: object, theirs: float, how: str) -> None:
    ends = f"[{bracket.lower:.5f}, {bracket.upper:.5f}]"
    print(f"{case:<34}{ours:>9.3f}{ends:>24}{bracket.relative_width:>9.2%}{theirs:>12.2f}{theirs / ours:>8.0f}  {how}")


if __name__ == "__main__":
    main()
