"""Which scattering features a preset trains on."""

import math
from dataclasses import dataclass

from dpaudit.contract import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ScatteringSettings:
    """Features of a linear model.

    Attributes:
        mirrored: average the features of an image and of its mirror image, before they are normalised.
        variance_floor: added to the variance of a group of channels, of pixels in [0, 1].
        centring: noise multiplier of the private mean, or ``None`` to leave the features as they are.

    Raises:
        UsageError: a number that is not positive and finite.
    """

    mirrored: bool = False
    variance_floor: float = 1e-5
    centring: float | None = None

    def __post_init__(self) -> None:
        for name in ("variance_floor", "centring"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise UsageError(f"scattering: {name} must be positive and finite, got {value!r}")

    @property
    def preparation(self) -> tuple[float, ...]:
        """Noise multipliers of the releases that these features cost."""
        return () if self.centring is None else (self.centring,)
