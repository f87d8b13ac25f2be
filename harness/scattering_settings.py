"""Which scattering features a preset trains on."""

import math
from dataclasses import dataclass

from dpaudit.contract import UsageError

from .plain_settings import PlainSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatteringSettings(PlainSettings):
    """Features of a linear model.

    Attributes:
        mirrored: average the features of an image and of its mirror image, before they are normalised.
        variance_floor: added to the variance of a group of channels, of pixels in [0, 1].
        centring: noise multiplier of the private mean, or ``None`` to leave the features as they are.
        whitening: noise multiplier of the private second moment of the channels (:mod:`harness.private_moments`), or ``None``.
        whitening_power: exponent of its inverse; 0.5 makes all directions equally long, smaller ones only closer to each other.
        whitening_floor: added to its eigenvalues, in units of their mean.
        row_bound: length to which rows are clipped for the second moment, in units of the root of the number of features.

    Raises:
        UsageError: a number that is not positive and finite, or a power above 0.5.
    """

    mirrored: bool = False
    variance_floor: float = 1e-5
    centring: float | None = None
    whitening: float | None = None
    whitening_power: float = 0.25
    whitening_floor: float = 0.1
    row_bound: float = 1.0

    def __post_init__(self) -> None:
        for name in ("variance_floor", "centring", "whitening", "whitening_power", "whitening_floor", "row_bound"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"scattering: {name} must be positive and finite, got {value!r}")
        if self.whitening_power > 0.5:
            raise UsageError(f"scattering: whitening_power must be at most 0.5, got {self.whitening_power!r}")

    @property
    def preparation(self) -> tuple[float, ...]:
        """Noise multipliers of the releases that these features cost, in the order in which they are made."""
        return tuple(multiplier for multiplier in (self.centring, self.whitening) if multiplier is not None)
