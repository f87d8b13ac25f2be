"""Twins of torch's distributions: they draw with the calls that are watched."""

from typing import Any

import torch
from torch import Tensor


class NormalTwin:
    """``torch.distributions.Normal`` with what noise needs of it. Any other attribute is an ``AttributeError``.

    A scale that is not positive, which torch rejects, is not looked for: it would be no release.
    """

    def __init__(self, loc: Any, scale: Any, validate_args: Any = None) -> None:
        self.loc, self.scale = loc, scale

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """``loc + scale * z`` with a fresh standard normal ``z`` for every element."""
        location: Any = self.loc + torch.zeros_like(self.scale) if isinstance(self.scale, Tensor) else self.loc
        if not isinstance(location, Tensor):
            location = torch.tensor(location)
        if len(sample_shape):
            location = location.expand(*sample_shape, *location.shape)
        drawn: Tensor = location + self.scale * torch.randn_like(location)
        return drawn

    rsample = sample


TWINS: dict[Any, Any] = {torch.distributions.Normal: NormalTwin}
