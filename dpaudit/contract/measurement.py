"""Measurement: what the probe read out of the running code. Plain data; crosses the worker's border."""

from dataclasses import dataclass

from .finding import Finding
from .words import NoiseClass, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The probe's account of one mechanism under one run configuration.

    Attributes:
        outcome: PASSED (every step read, no finding), VIOLATED (a finding refutes), INCONCLUSIVE (a step could not be
            read) or ERRORED (the probe itself failed).
        reported: ``get_effective_sigma`` of every step, run order; ``None`` where it gave no usable number.
        measured: for every step, an upper bound on the noise multiplier: noise over the effect of the worst row that was
            found (dimensionless). ``None`` where no plain sigma may be quoted (data-dependent or unresolved noise).
            0 where some direction carries no noise.
        classes: noise class of every step.
        demonstrated: True if ``measured`` was attained by ONE pair of neighbours and one history over all steps, so that
            accounting it gives a lower end for epsilon.
        pair: the demonstrated pair in words (kind, seed, which row, in which cell), so that a person can build it again.
        findings: what was found, with lines in the candidate's source.
        seconds: wall time.
        notes: limits that a reader must know (steps read at small shape only, ...).
        checks: comparisons that were made beside the reading, and held.
        post_processed: the release of some step is no affine function of the noise: ``measured`` is that of the values which it
            is computed from, and what is seen at the output (a scale, a bound) says nothing about the noise.
    """

    outcome: Outcome
    reported: tuple[float | None, ...]
    measured: tuple[float | None, ...]
    classes: tuple[NoiseClass, ...]
    demonstrated: bool
    pair: str
    findings: tuple[Finding, ...]
    seconds: float
    notes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    post_processed: bool = False
