"""Noise from torch's uniform draws: a bounded release shows for certain that a row was there.

Notation: U the uniform numbers of one call, in [0, 1); release_i = a_i + m_i U_i on D. On D no U gives a value of coordinate i
outside [a_i, a_i + m_i]; on D', where a_i has moved by s_i, a share |s_i| / |m_i| of all U does. With q the probability that the
row is drawn, the event "outside" has probability at least q |s_i| / |m_i| under D' in the first step and 0 under D, whatever
epsilon is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dpaudit.contract import PlainData, RunConfig, Severity, Strength
from dpaudit.probe.problem import Problem

from .batches import Beside
from .gradients import RowPattern
from .moments import Moment

_LARGEST = 1 - 2.0**-24
"""The largest number that torch's float32 uniform draw gives."""

_SEED = 31
_RAND = torch.rand
_TOLERANCE = 1e-5


class _Numbers:
    """What the uniform draws of a call give: one number for all, or a fixed random vector in order of the draws."""

    def __init__(self, value: float | None) -> None:
        self.value = value
        self.given: list[Tensor] = []
        self._generator = torch.Generator().manual_seed(_SEED)

    def fill(self, out: Tensor) -> Tensor:
        if self.value is None:
            numbers = _RAND(out.shape, generator=self._generator, dtype=out.dtype)
        else:
            numbers = torch.full_like(out, self.value)
        self.given.append(numbers.detach().reshape(-1).to(torch.float64))
        return out.copy_(numbers)


def bounded_uniform_noise(moment: Moment, beside: Beside, config: RunConfig) -> Problem | None:
    """The finding where every coordinate is affine in one uniform number of its own, and a row moves it out of its range.

    Assumptions: torch's uniform draws are what they claim. Asked at the first step, beside rows of zeros only.

    Raises:
        CandidateError: the mechanism raised.
    """
    if moment.step != 0 or beside.content != "zeros" or moment.geometry.reach != 1:
        return None
    zero = torch.zeros(sum(moment.geometry.sizes), dtype=moment.session.dtype)
    flat = moment.geometry.without(beside, zero)
    low, given = _release(moment, flat, 0.0)
    if not given.numel() or moment.latent_count(flat):
        return None
    high = _release(moment, flat, _LARGEST)[0]
    slope = (high - low) / _LARGEST
    if not _affine(moment, flat, low, slope) or not _same_beside_fewer(moment, beside, zero, low, slope):
        return None
    best = 0.0
    for layer in range(len(moment.geometry.sizes)):
        row = moment.row(RowPattern(kind="one_hot", norm=10.0, layer=layer))
        moved = _release(moment, moment.geometry.with_row(beside, row), 0.0)[0]
        ratios = ((moved - low).abs() / slope.abs())[slope != 0]
        best = max(best, float(ratios.max()) if ratios.numel() else 0.0)
    share = min(1.0, best)
    revealing = config.sampling_probability * share * (1 - 1e-4)
    if not revealing > config.target_delta:
        return None
    message = (
        f"step 0: the noise is uniform, so the release is bounded; a row that is drawn moves a coordinate out of its range with "
        f"probability {share:.3g} ({revealing:.2g} in one step, sampling included), which never happens without it; delta is "
        f"{config.target_delta:g}, and no epsilon covers it"
    )
    evidence: dict[str, PlainData] = {"share": share, "probability_per_step": revealing, "delta": config.target_delta}
    return Problem("DPA214", Severity.CRITICAL, Strength.PROOF, message, moment.coin_line(flat), evidence)


def _affine(moment: Moment, flat: Tensor, low: Tensor, slope: Tensor) -> bool:
    """Whether the release is a + m U, coordinate by coordinate, at other numbers too."""
    for value in (0.25, 0.5, None):
        seen, numbers = _release(moment, flat, value)
        if numbers.numel() != slope.numel():
            return False
        if not _near(seen, low + slope * numbers, slope):
            return False
    return True


def _same_beside_fewer(moment: Moment, beside: Beside, zero: Tensor, low: Tensor, slope: Tensor) -> bool:
    """Whether another number of zero rows gives the same: the sampler draws their number."""
    for count in moment.geometry.counts():
        other = moment.geometry.without(Beside(content="zeros", count=count), zero)
        if not _near(_release(moment, other, 0.0)[0], low, slope):
            return False
    return True


def _near(seen: Tensor, expected: Tensor, slope: Tensor) -> bool:
    return bool(((seen - expected).abs() <= _TOLERANCE * slope.abs().max()).all())


def _release(moment: Moment, flat: Tensor, value: float | None) -> tuple[Tensor, Tensor]:
    """The release when uniform draws give what they are told, and the numbers that they gave."""
    numbers = _Numbers(value)
    moment.session.restore(moment.before)
    with _told(numbers):
        out = moment.session.call_unwatched(moment.batch(flat), moment.step, moment.epoch)
    given = torch.cat(numbers.given) if numbers.given else torch.empty(0, dtype=torch.float64)
    return out, given


@contextmanager
def _told(numbers: _Numbers) -> Iterator[None]:
    """Stand in for torch's uniform draws."""
    rand, rand_like = torch.rand, torch.rand_like
    uniform = Tensor.uniform_

    def standing_in(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def drawn(*arguments: Any, **words: Any) -> Tensor:
            return numbers.fill(draw(*arguments, **words))

        return drawn

    def uniform_(self: Tensor, *arguments: Any, **words: Any) -> Tensor:
        low = float(arguments[0] if arguments else words.get("from", 0.0))
        high = float(arguments[1] if len(arguments) > 1 else words.get("to", 1.0))
        return numbers.fill(self).mul_(high - low).add_(low)

    torch.rand, torch.rand_like, Tensor.uniform_ = standing_in(rand), standing_in(rand_like), uniform_  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        torch.rand, torch.rand_like, Tensor.uniform_ = rand, rand_like, uniform  # type: ignore[method-assign]
