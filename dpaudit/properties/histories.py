"""Real runs, walked step by step, and the moments at which they are looked at."""

import torch
from torch import Tensor

from dpaudit.contract import RunConfig
from dpaudit.probe.hidden_state import differing
from dpaudit.probe.loading import load_candidate
from dpaudit.probe.messages import Request
from dpaudit.probe.noise_map import NoiseMap
from dpaudit.probe.session import Constructor, Session
from dpaudit.probe.work_clock import worked

from .batches import Beside, Geometry
from .moments import Moment


def make_session(request: Request, geometry: Geometry, dtype: torch.dtype, seed: int) -> Session:
    """A fresh mechanism in a module of its own, with the run's numbers, at the geometry's shapes.

    Raises:
        CandidateError: the file or the constructor raised.
    """
    c = request.config
    candidate = load_candidate(request.text, request.path, request.class_name)
    constructor = Constructor(
        c.max_grad_norm, c.noise_multiplier, sum(geometry.sizes), c.dataset_size, c.batch_size, c.epochs,
        c.target_epsilon, c.target_delta,
    )  # fmt: skip
    return Session(candidate, constructor, geometry.shapes, dtype=dtype, seed=seed)


def moments_of(
    session: Session, config: RunConfig, geometry: Geometry, history: str, seconds: float, forms: list[NoiseMap]
) -> list[Moment]:
    """The first, the middle and the last moment of one real run, every step in order, within ``seconds``.

    Where the time is too short for all steps, the moment that was reached is taken; and, if the mechanism has kept the same
    state until then, through at least one change of epoch, also the last step from that state.

    Raises:
        CandidateError: the mechanism raised in one of the steps.
    """
    wanted = {
        0: "at the first step",
        config.total_steps // 2: "in the middle",
        config.total_steps - 1: "at the last step",
    }
    beside = Beside(content=history, count=geometry.counts()[0])
    zero = torch.zeros(sum(geometry.sizes), dtype=session.dtype)
    batch = geometry.tensors(geometry.without(beside, zero), session.dtype)
    found: list[Moment] = []
    release: Tensor | None = None
    deadline = worked() + seconds
    for step in range(config.total_steps):
        late = worked() > deadline
        if step in wanted or late:
            words = wanted.get(step, f"after {step} steps")
            found.append(
                Moment(
                    session, geometry, session.snapshot(), step, config.epoch_of(step), words, history, release, forms
                )
            )
        if late and step > config.steps_per_epoch and not differing(found[0].before, found[-1].before, 0.0):
            last = config.total_steps - 1
            words, epoch = wanted[last], config.epoch_of(last)
            found.append(Moment(session, geometry, session.snapshot(), last, epoch, words, history, release, forms))
        if late or step == config.total_steps - 1:
            break
        release = session.call_unwatched(batch, step, config.epoch_of(step))
        session.reported_sigma(step, config.epoch_of(step))
    return found


def walk(session: Session, config: RunConfig, geometry: Geometry, history: str, steps: int) -> Tensor | None:
    """Walk the first ``steps`` steps of a run on rows of one content, as :func:`moments_of` does; the last release.

    Raises:
        CandidateError: the mechanism raised in one of the steps.
    """
    beside = Beside(content=history, count=geometry.counts()[0])
    zero = torch.zeros(sum(geometry.sizes), dtype=session.dtype)
    batch = geometry.tensors(geometry.without(beside, zero), session.dtype)
    release: Tensor | None = None
    for step in range(steps):
        release = session.call_unwatched(batch, step, config.epoch_of(step))
        session.reported_sigma(step, config.epoch_of(step))
    return release
