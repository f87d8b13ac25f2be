"""How much noise would be honest: the factor at which the schedule that really runs meets the target."""

from dataclasses import dataclass

from dpaudit.accounting import epsilon_bracket, honest_noise_factor
from dpaudit.contract import Bracket, EventTrace, Measurement, RunConfig, StaticResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Noise multipliers of every step that may be quoted: ``proved`` for all inputs, else measured on one demonstrated pair."""

    sigmas: tuple[float, ...]
    proved: bool

    @property
    def origin(self) -> str:
        """Where the schedule comes from, in words."""
        return (
            "proved for all inputs" if self.proved else "measured on one demonstrated pair; not proved for all inputs"
        )


def quotable_schedule(measurement: Measurement, static: StaticResult | None) -> Schedule | None:
    """The proved schedule where there is one, else the measured one.

    ``None`` if a step was not read, if no pair was demonstrated over all steps, or if a step has no noise: no multiple of a
    missing noise is honest.
    """
    if static is not None and static.sigma_effective:
        schedule = Schedule(sigmas=static.sigma_effective, proved=True)
    else:
        measured = tuple(sigma for sigma in measurement.measured if sigma is not None)
        if not measured or len(measured) < len(measurement.measured) or not measurement.demonstrated:
            return None
        schedule = Schedule(sigmas=measured, proved=False)
    return schedule if min(schedule.sigmas) > 0 else None


def honest_factor(config: RunConfig, schedule: Schedule | None) -> float | None:
    """The factor on all noise with which the whole schedule meets the target of ``config``; ``None`` without a schedule."""
    if schedule is None:
        return None
    return honest_noise_factor(EventTrace.of_run(config, schedule.sigmas), config.target_epsilon, config.target_delta)


def cost(config: RunConfig, schedule: Schedule) -> Bracket:
    """Epsilon of the schedule in the cell of ``config``."""
    return epsilon_bracket(EventTrace.of_run(config, schedule.sigmas), config.target_delta)
