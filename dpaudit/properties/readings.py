"""What one call shows: its noise, and what one row does to the release."""

from dataclasses import dataclass

from torch import Tensor

from dpaudit.probe.noise_map import NoiseMap
from dpaudit.probe.tape import Recording


class Unreadable(Exception):
    """The noise of this call cannot be read, so nothing is compared with it."""


@dataclass(slots=True)
class Reading:
    """One call on D with its noise.

    Attributes:
        at: the release with z = 0, flat.
        noise: L.
        tolerance: absolute rounding to allow for in releases.
        reported: ``get_effective_sigma`` right after the call; ``None`` if it gave no usable number.
    """

    recording: Recording
    at: Tensor
    noise: NoiseMap
    nudge: Tensor
    response: Tensor
    tolerance: float
    reported: float | None

    @property
    def line(self) -> int | None:
        """Line of the first Gaussian draw."""
        return next((draw.line for draw in self.recording.draws if draw.line is not None), None)

    @property
    def latents(self) -> int:
        """Number of distinct Gaussian latents."""
        return self.recording.latents.numel()


@dataclass(frozen=True, slots=True)
class Effect:
    """What one row does to the release.

    Attributes:
        sigma: noise multiplier of this pair (dimensionless): ``reach`` over the distance in units of noise.
        contribution: Euclidean length of the change of the release, per contribution.
        noise_ratio: noise response on D' over that on D, where they differ beyond rounding; ``None`` where they agree.
        finite: whether the release on D' is finite.
    """

    sigma: float
    contribution: float
    noise_ratio: float | None
    finite: bool
