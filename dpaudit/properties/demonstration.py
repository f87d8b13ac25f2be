"""One pair of neighbours along one real run: at which steps does it attain which noise multiplier?

At every step the neighbour's latents are shifted so that it must release exactly what the base run did. A step counts
only if it does, and if it then holds the same state: so every counted step is a step of ONE pair and ONE history.
"""

import math
import time

import torch
from torch import Tensor

from dpaudit.contract import RunConfig
from dpaudit.probe.hidden_state import differing
from dpaudit.probe.loading import CandidateError
from dpaudit.probe.noise_map import NoiseMap
from dpaudit.probe.session import Session

from .batches import Beside, Geometry
from .gradients import RowPattern, row_of
from .moments import Moment
from .readings import Unreadable


def demonstrate(
    session: Session, config: RunConfig, geometry: Geometry, beside: Beside, pattern: RowPattern, deadline: float
) -> dict[int, float]:
    """Noise multiplier by step, from the first step on, until the deadline or a step that does not couple.

    Guarantee: the pair (``beside``, ``pattern``) attains these multipliers at these steps of one run. A missing step says
    nothing.
    """
    found: dict[int, float] = {}
    release: Tensor | None = None
    form: NoiseMap | None = None
    for step in range(config.total_steps):
        if time.monotonic() > deadline:
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
        sigma, release, form = walked
        found[step] = sigma
    return found


def _step(moment: Moment, beside: Beside, row: Tensor, form: NoiseMap | None) -> tuple[float, Tensor, NoiseMap] | None:
    """One step on D for good, and its coupling with D'. ``None`` if they do not couple or leave different states."""
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
    if not math.isfinite(mu):
        return None
    coupled = moment.replay(run.recording, other, z + shift)
    session.reported_sigma(moment.step, moment.epoch)
    same = bool(((coupled - run.release).abs() <= 4 * tolerance).all()) and mu > 0
    same = same and not differing(after, session.snapshot(), 8 * tolerance)
    session.restore(after)
    return (geometry.reach / mu, run.release, noise) if same else None
