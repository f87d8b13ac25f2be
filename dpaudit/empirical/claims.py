"""What is claimed, as traces that can be refuted, and when their refutation voids the claim.

A claim is the target (epsilon, delta) and the sigma reported for every step. The BUDGET of a schedule is that schedule with its
noise scaled until it costs the target. A mechanism whose schedule is known to be a multiple of one of several candidates
(what it reports; what the probe measured) spends more than the target if every candidate's budget is refuted by the same
trials: one of them is its own. No share of alpha is lost, as all of them must fall.
"""

import math
from dataclasses import dataclass

from dpaudit.accounting.epsilon import epsilon_bracket
from dpaudit.contract import EventTrace, Measurement, RunConfig, Sampler, UnsupportedCellError

TOLERANCE = 1e-3
"""A budget costs this much more than the target, relative: calibration is allowed to be that tight."""
_WIDEST = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A candidate for what ran: its trace, and the factor on its noise at which it costs the target.

    ``factor`` is below 1 where the schedule itself costs less than the target.
    """

    name: str
    trace: EventTrace
    factor: float

    @property
    def budget(self) -> EventTrace:
        """The trace that costs the target, up to the tolerance."""
        return self.trace.scaled(self.factor)


def schedules(config: RunConfig, measurement: Measurement) -> tuple[Schedule, ...]:
    """The reported schedule and the measured one, as far as they are complete and usable, without repetition.

    Empty if one of them has no budget: then nothing but the family-free bound can refute.

    Raises:
        UnsupportedCellError: no trade-off curve is known for the cell.
    """
    if config.cell.sampler is Sampler.SHUFFLE:
        raise UnsupportedCellError("attack: shuffle has no common trade-off curve; only the family-free bound applies")
    constant = (config.noise_multiplier,) * config.total_steps
    found: dict[tuple[float, ...], str] = {}
    for name, sigmas in (("reported", measurement.reported), ("measured", measurement.measured)):
        usable = tuple(sigma for sigma in sigmas if sigma is not None and 0 < sigma < math.inf)
        if len(usable) == config.total_steps:
            found.setdefault(usable, name)
    if "reported" not in found.values() and config.noise_multiplier > 0:
        found.setdefault(constant, "constructor's noise multiplier")
    made = []
    for sigmas, name in found.items():
        trace = EventTrace.of_run(config, sigmas)
        factor = budget_factor(trace, config.target_epsilon, config.target_delta)
        if factor is None:
            return ()  # fail closed: a candidate that cannot be excluded may be the true one
        made.append(Schedule(name=name, trace=trace, factor=factor))
    return tuple(made)


def budget_factor(trace: EventTrace, epsilon: float, delta: float) -> float | None:
    """The largest factor found at which the optimistic epsilon is still at least the target; relative width 1e-4."""
    wanted = epsilon * (1 + TOLERANCE)

    def costs(factor: float) -> bool:
        return (epsilon_bracket(trace.scaled(factor), delta).lower or 0.0) >= wanted

    low, high = 1.0, 1.0
    while not costs(low):
        low /= 1.5
        if low < 1 / _WIDEST:
            return None
    while costs(high):
        high *= 1.5
        if high > _WIDEST:
            return None
    while high / low > 1 + 1e-4:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if costs(middle) else (low, middle)
    return low


def steps_alone(config: RunConfig, sigma: float, steps: int = 1) -> EventTrace:
    """Only ``steps`` attacked steps at ``sigma``; nothing is assumed of anything else. What is proved without a schedule."""
    sigmas = (sigma,) * steps + (math.inf,) * (config.total_steps - steps)
    return EventTrace.of_run(config, sigmas).without_preparation()
