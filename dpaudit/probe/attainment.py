"""Is accounting a Gaussian of the measured noise multiplier accounting the pair that was shown?

And does the mechanism do the same when it is not watched? Each check answers with a note, or nothing where all is well.
"""

import math

import torch
from torch import Tensor

from .coupling import Coupled, DrawsDiffer, Reader, StepState
from .session import Rows


def misplaced(reader: Reader, state: StepState, coupled: Coupled) -> str | None:
    """The release without the row must lie on D's, or half-way between a row and its opposite."""
    batch = reader.neighbours.without(state.step)
    if batch is None:
        return None
    expected = (1 - 1 / reader.neighbours.reach) * coupled.change
    if _near(_apart(reader, state, state.release, batch), expected, coupled):
        return None
    return (
        f"step {state.step}: the release without the row is not where the accounted pair needs it, so that no lower end "
        "of epsilon follows from measured"
    )


def swayed(reader: Reader, state: StepState, coupled: Coupled) -> str | None:
    """The row must contribute what it does whatever the other rows are.

    If not, the accounted pair would need the other rows in every batch, and the sampler draws them at random.
    """
    if reader.neighbours.quiet:
        return None
    try:
        silent = reader.replay(state, reader.neighbours.alone(state.base))
        change = _apart(reader, state, silent, reader.neighbours.alone(state.other))
    except DrawsDiffer:
        change = torch.full_like(state.release, math.inf)
    if _near(change, coupled.change, coupled):
        return None
    return (
        f"step {state.step}: what a row contributes depends on the other rows of the batch, which the sampler draws at "
        "random: measured holds for the batches shown, and no lower end of epsilon follows from it"
    )


def same_unwatched(reader: Reader, state: StepState) -> bool | None:
    """Whether the mechanism releases the same, bit for bit, when nothing watches it.

    ``None`` if it takes fresh entropy at each call, so that two calls cannot be compared.
    """
    first, second = (_unwatched(reader, state) for _ in range(2))
    if torch.equal(first, state.release):
        return True
    return False if torch.equal(first, second) else None


def _unwatched(reader: Reader, state: StepState) -> Tensor:
    reader.session.restore(state.before)
    return reader.session.call_unwatched(state.base, state.step, state.epoch)


def _apart(reader: Reader, state: StepState, release: Tensor, batch: Rows) -> Tensor:
    try:
        return reader.replay(state, batch) - release
    except DrawsDiffer:
        return torch.full_like(release, math.inf)


def _near(here: Tensor, there: Tensor, coupled: Coupled) -> bool:
    return bool(((here - there).abs() <= 4 * coupled.tolerance).all())
