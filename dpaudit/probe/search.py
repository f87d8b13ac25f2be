"""Search for the row whose presence shows most at a step."""

import math
from collections.abc import Callable

from torch import Tensor

from .candidates import HUGE, Canary
from .coupling import Coupled, DrawsDiffer, Reader, StepState

_GAIN = 1.001
_ROUNDS = 3


def worst_row(
    reader: Reader,
    state: StepState,
    coupled: Coupled,
    *,
    change: Callable[[Canary], Tensor | None],
    couple: Callable[[], Coupled],
) -> Coupled:
    """Try other rows at a step, and couple the worst.

    ``change`` says how another row changes what was coupled, ``None`` if that cannot be seen; ``couple`` couples ``state``
    again. ``state`` then holds it, and its canary is the one to go on with. Under replace_one the batch that ran is fixed; there
    only the canary changes.
    """
    assert coupled.noise is not None
    best, best_mu = state.canary, coupled.mu

    def distance(canary: Canary) -> float:
        try:
            changed = change(canary)
        except DrawsDiffer:
            return math.nan
        if changed is None or changed.shape != coupled.change.shape:
            return math.nan
        assert coupled.noise is not None
        return coupled.noise.shift(-changed, coupled.tolerance, state.freshness.fresh)[1]

    tried = reader.neighbours.candidates()
    for _ in range(_ROUNDS):
        for canary in tried:
            mu = distance(canary)
            if math.isfinite(mu) and mu > _GAIN * best_mu:
                best, best_mu = canary, mu
        if best.norm == HUGE:
            break
        tried = reader.neighbours.grid_of(best)
    if best == state.canary:
        return coupled
    base, other = reader.neighbours.pair(state.step, best)
    previous = state.canary, state.other
    state.canary = best
    if base is not state.base:
        return coupled
    state.other = other
    again = couple()
    if again.matched and again.mu >= coupled.mu:
        return again
    state.canary, state.other = previous
    return coupled
