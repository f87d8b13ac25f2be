"""The composed run in the MODEL of the probe: simulated Gaussian steps, 10^5 runs in seconds. For power planning only.

It answers "how often would the attack on this schedule succeed with n runs?". It never looks at the mechanism again, so it
can reject nothing and accept nothing.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpaudit.contract import EventTrace, Sampler, UsageError

from .accountant_family import reach_of
from .rectangle import Tally
from .thresholds import tally_at

Floats = NDArray[np.float64]

REJECTS = False
"""The model never rejects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Error rates of the likelihood-ratio test in the model, at the threshold asked for. Not evidence about a mechanism."""

    fpr: float
    fnr: float
    runs: int

    def expected(self, trials: int) -> Tally:
        """Expected errors in ``trials`` runs of each world."""
        return Tally(
            false_positives=round(self.fpr * trials),
            outside=trials,
            false_negatives=round(self.fnr * trials),
            inside=trials,
        )


def simulate(trace: EventTrace, *, runs: int, seed: int, fpr: float = 0.02) -> Power:
    """Simulate ``runs`` runs of each world and read off the false negative rate at a false positive rate.

    Poisson sampling, a row of full sensitivity beside rows of zero. Only sampled steps differ between the worlds, so the
    statistic of a run without the canary is shared noise, simulated in chunks.

    Raises:
        UsageError: another sampler than Poisson, or fewer than 100 runs.
    """
    if trace.cell.sampler not in (Sampler.POISSON, Sampler.TRUNCATED_POISSON):
        raise UsageError(f"model: simulates Poisson sampling only, got {trace.cell.sampler}")
    if runs < 100:
        raise UsageError(f"model: expected at least 100 runs, got {runs}")
    scores = simulated_scores(trace, runs=runs, seed=seed)
    threshold = float(np.quantile(scores[1], 1 - fpr))
    seen = tally_at(threshold, *scores)
    return Power(fpr=seen.false_positives / runs, fnr=seen.false_negatives / runs, runs=runs)


def simulated_scores(trace: EventTrace, *, runs: int, seed: int) -> tuple[Floats, Floats]:
    """Log-likelihood ratios of ``runs`` runs with the canary and as many without."""
    q, reach = trace.sampling_probability, reach_of(trace)
    shifts = np.array([reach / sigma for sigma in trace.sigmas if 0 < sigma < math.inf], dtype=np.float32)
    generator = np.random.default_rng(seed)
    sides: list[Floats] = []
    for world in (1, 0):
        parts = []
        chunk = max(1, 4_000_000 // max(1, len(shifts)))
        for start in range(0, runs, chunk):
            shape = (min(chunk, runs - start), len(shifts))
            noise = generator.standard_normal(shape, dtype=np.float32)
            if world:
                noise += shifts * (generator.random(shape, dtype=np.float32) < q)
            exponent = np.minimum(shifts * noise - shifts * shifts / 2, 80.0)
            parts.append(np.log1p(q * np.expm1(exponent)).sum(axis=1, dtype=np.float64))
        sides.append(np.concatenate(parts))
    return sides[0], sides[1]
