"""How much an attack spends: what the gate affords by default, and all that the time allows."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Limits of one attack. They bound cost and power, never validity.

    Attributes:
        name: for the reader.
        step_trials: most trials of one step in each world, for the test and again for its confirmation.
        run_pairs: most pairs of whole runs, likewise.
        only_if_planned: whole runs are played only if the plan fits into the time that is left, and given up once their
            wealth grows too slowly to refute within ``run_pairs``.
    """

    name: str
    step_trials: int
    run_pairs: int
    only_if_planned: bool


GATE = Effort(name="gate", step_trials=2500, run_pairs=64, only_if_planned=True)
"""Seconds a mechanism: enough to refute a claim that is plainly false."""
THOROUGH = Effort(name="thorough", step_trials=200_000, run_pairs=4000, only_if_planned=False)
"""Until the time that was given ends."""
