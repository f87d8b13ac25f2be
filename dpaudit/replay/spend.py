"""How epsilon grows over a run: the same accounting as at its end, of the first steps alone."""

from collections.abc import Sequence
from dataclasses import replace

from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import Bracket, EventTrace, RunConfig, Sampler, SpendRow

_POINTS, _FEW_POINTS = 12, 4
_MANY_SIGMAS = 32


def spend_rows(
    config: RunConfig,
    reported: tuple[float, ...] | None,
    measured: tuple[float, ...] | None,
    proved: tuple[float, ...] | None,
) -> tuple[SpendRow, ...]:
    """Epsilon of prefixes of the run, the whole run last. Nothing where no schedule is known.

    A prefix is a run of its own: its bracket is that of :func:`epsilon_bracket` for these steps. The first step, and twelve
    prefixes after it, or four where a schedule has many distinct noise multipliers, each of which costs time.

    Args:
        reported: schedule that was reported. measured: of one demonstrated pair. proved: bounded for all inputs.
    """
    known = [sigmas for sigmas in (reported, measured, proved) if sigmas is not None]
    if not known:
        return ()
    many = any(len(set(sigmas)) > _MANY_SIGMAS for sigmas in known)
    rows = []
    for steps in _prefixes(config, _FEW_POINTS if many else _POINTS):
        told, ran, bound = (_bracket(config, sigmas, steps) for sigmas in (reported, measured, proved))
        rows.append(
            SpendRow(
                steps=steps,
                reported=None if told is None else told.upper,
                lower=None if ran is None else ran.lower,
                upper=None if bound is None else bound.upper,
            )
        )
    return tuple(rows)


def _prefixes(config: RunConfig, count: int) -> Sequence[int]:
    """Evenly spaced numbers of steps; whole epochs under shuffling, whose accounting knows nothing smaller."""
    unit = config.steps_per_epoch if config.cell.sampler is Sampler.SHUFFLE else 1
    units = config.total_steps // unit
    return sorted({unit, *(unit * max(1, round(units * place / count)) for place in range(1, count + 1))})


def _bracket(config: RunConfig, sigmas: tuple[float, ...] | None, steps: int) -> Bracket | None:
    if sigmas is None:
        return None
    trace = EventTrace.of_run(config, sigmas)
    return epsilon_bracket(replace(trace, sigmas=trace.sigmas[:steps]), config.target_delta)
