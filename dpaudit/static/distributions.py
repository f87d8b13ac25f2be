"""Noise of ``torch.distributions.Normal``, drawn with the calls that are watched.

Only ``Normal(loc, scale).sample(shape)`` in one expression comes here: the candidate never holds a stand-in that it could tell
from the real object.
"""

from typing import Any

import torch
from torch import Tensor

from .operands import Operands


def draw_normal(operands: Operands, given: tuple[Any, ...], named: dict[str, Any], sample_shape: Any = ()) -> Tensor:
    """``loc + scale * z`` with a fresh standard normal ``z`` for every element.

    Args:
        given, named: arguments of the constructor; ``validate_args`` is not followed.

    Raises:
        Refusal: the scale is not shown to be positive for all inputs, where torch may raise (DPA116).
        TypeError: other arguments than those of torch.
    """
    loc, scale = _arguments(*given, **named)
    if not _is_positive(operands, scale):
        operands.session.refuse("DPA116", "torch.distributions.Normal: its scale is not shown to be positive")
    location: Any = loc + torch.zeros_like(scale) if isinstance(scale, Tensor) else loc
    if not isinstance(location, Tensor):
        location = torch.tensor(location)
    if len(sample_shape):
        location = location.expand(*sample_shape, *location.shape)
    drawn: Tensor = location + scale * torch.randn_like(location)
    return drawn


def _arguments(loc: Any, scale: Any) -> tuple[Any, Any]:
    return loc, scale


def _is_positive(operands: Operands, scale: Any) -> bool:
    if isinstance(scale, Tensor):
        table = operands.table
        return all(table.range(x)[0] > 0 for x in set(operands.shadows.of(scale).reshape(-1).tolist()))
    return bool(scale > 0)
