"""One pair of neighbours along one real run: at which steps does it attain which noise multiplier?

At every step the neighbour's latents are shifted so that it must release exactly what the base run did. A step counts
only if it does, and if it then holds the same state: so every counted step is a step of ONE pair and ONE history.

What such steps are worth depends on the other rows. Where they are rows of zeros whose number changes nothing, they can
be all the rest of the data set: whichever of them the sampler draws, the pair is the same, and its steps compose to a
lower end of epsilon. Where the other rows matter, the sampler's choice of them is part of the mechanism's randomness, and the
steps bound no epsilon: they show a contribution, no more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dpaudit.contract import RunConfig
from dpaudit.probe.hidden_state import differing
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.noise_map import NoiseMap
from dpaudit.probe.session import Run, Session
from dpaudit.probe.work_clock import worked
from dpaudit.probe.world import Snapshot

from .batches import Beside, Geometry
from .gradients import RowPattern, row_of
from .moments import Moment
from .readings import Unreadable


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A pair followed along a run.

    Attributes:
        steps: noise multiplier by step. A missing step says nothing.
        others_matter: whether the rows beside the pair's, or their number, may change what its row does.
    """

    steps: Mapping[int, float]
    others_matter: bool


def demonstrate(
    session: Session, config: RunConfig, geometry: Geometry, beside: Beside, pattern: RowPattern, deadline: float
) -> Demonstration:
    """Follow a pair from the first step on, until the deadline or a step that does not couple.

    Guarantee: the pair (``beside``, ``pattern``) attains these multipliers at these steps of one run. With
    ``others_matter`` false it does so beside zero rows, and as many fewer or more of them as were tried (none, one, two, B - 1,
    in turn) give the same releases and the same state.
    """
    found: dict[int, float] = {}
    release: Tensor | None = None
    form: NoiseMap | None = None
    others_matter = beside.content != "zeros"
    for step in range(config.total_steps):
        if worked() > deadline:
            break
        epoch = config.epoch_of(step)
        moment = Moment(session, geometry, session.snapshot(), step, epoch, "", "", release)
        row = row_of(pattern, geometry.sizes, geometry.bound, session.dtype, release=release)
        try:
            walked = _step(moment, beside, row, form)
        except (CandidateError, Unreadable):
            break
        if walked is None:
            break
        others_matter = others_matter or not _same_beside_fewer(moment, beside, row, walked)
        session.restore(walked.after)
        release, form = walked.run.release, walked.noise
        found[step] = walked.sigma
    return Demonstration(found, others_matter)


@dataclass(frozen=True, slots=True)
class _Walked:
    """One step on D, and its coupling with D'."""

    sigma: float
    run: Run
    after: Snapshot
    noise: NoiseMap
    shift: Tensor
    tolerance: float


def _step(moment: Moment, beside: Beside, row: Tensor, form: NoiseMap | None) -> _Walked | None:
    """One step on D, and its coupling with D'. ``None`` if they do not couple or leave different states."""
    session, geometry = moment.session, moment.geometry
    base, other = geometry.without(beside, row), geometry.with_row(beside, row)
    run = session.call(moment.batch(base), moment.step, moment.epoch, watch=form is None)
    session.reported_sigma(moment.step, moment.epoch)
    after = session.snapshot()
    z = run.recording.latents
    noise = moment.read(base).noise if form is None else moment.renewed(base, form)[2]
    zeros = torch.zeros_like(z)
    change = moment.replay(run.recording, other, zeros) - moment.replay(run.recording, base, zeros)
    tolerance = run.recording.rounding * max(float(run.release.abs().max()), float(change.abs().max()))
    change = torch.where(change.abs() <= tolerance, 0.0, change)
    own = run.recording.rounding * float(run.release.abs().max())
    shift, mu = noise.shift(-change, own, torch.ones(z.numel(), dtype=torch.bool))
    if not math.isfinite(mu) or not mu > 0:
        return None
    walked = _Walked(geometry.reach / mu, run, after, noise, shift, tolerance)
    return walked if _lands(moment, other, z + shift, walked) else None


def _lands(moment: Moment, flat: Tensor, latents: Tensor, walked: _Walked) -> bool:
    """Whether a batch with these latents gives the base run's release and state."""
    coupled = moment.replay(walked.run.recording, flat, latents)
    moment.session.reported_sigma(moment.step, moment.epoch)
    same = bool(((coupled - walked.run.release).abs() <= 4 * walked.tolerance).all())
    return same and not differing(walked.after, moment.session.snapshot(), 8 * walked.tolerance)


def _same_beside_fewer(moment: Moment, beside: Beside, row: Tensor, walked: _Walked) -> bool:
    """Whether the step is the same beside another number of zero rows, on D and on D'. That of ``beside`` is one of many."""
    geometry, z = moment.geometry, walked.run.recording.latents
    numbers = [count for count in geometry.counts() if count != beside.count]
    if not numbers:
        return True  # the cell has one number of rows
    another = replace(beside, count=numbers[moment.step % len(numbers)])
    try:
        return _lands(moment, geometry.without(another, row), z, walked) and _lands(
            moment, geometry.with_row(another, row), z + walked.shift, walked
        )
    except (CandidateError, Unreadable):
        return False
