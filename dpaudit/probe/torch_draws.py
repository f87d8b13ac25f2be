"""Gaussian draws of torch at Python's level: a fast tape for replays.

Watching every operation with a dispatch mode makes a call several times slower. Most mechanisms draw through four
functions; these are wrapped once. A call that is fully watched compares what the mode saw with what the wrappers saw
(:attr:`Recording.plain`); only where they agree are replays made with the wrappers alone. Randomness that escapes the
wrappers at some other step is found as any other that escapes: replays move every generator and compare.
"""

from typing import Any

import torch
from torch import Tensor

from . import tape
from .gaussian_moments import copied

_randn, _randn_like, _normal, _normal_ = torch.randn, torch.randn_like, torch.normal, Tensor.normal_


def install() -> None:
    """Wrap torch's Gaussian draws in this process. Without an active tape they behave as before."""
    torch.randn = randn
    torch.randn_like = randn_like
    torch.normal = normal
    Tensor.normal_ = normal_  # type: ignore[assignment,method-assign]


def randn(*args: Any, **kwargs: Any) -> Tensor:
    """``torch.randn`` through the tape."""
    return _drawn(_randn, args, kwargs, 0.0, 1.0)


def randn_like(*args: Any, **kwargs: Any) -> Tensor:
    """``torch.randn_like`` through the tape."""
    return _drawn(_randn_like, args, kwargs, 0.0, 1.0)


def normal(*args: Any, **kwargs: Any) -> Tensor:
    """``torch.normal`` through the tape."""
    mean = args[0] if args else kwargs.get("mean", 0.0)
    std = args[1] if len(args) > 1 else kwargs.get("std", 1.0)
    return _drawn(_normal, args, kwargs, mean, std)


def normal_(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor.normal_`` through the tape."""
    mean = args[0] if args else kwargs.get("mean", 0.0)
    std = args[1] if len(args) > 1 else kwargs.get("std", 1.0)
    return _drawn(_normal_, (self, *args), kwargs, mean, std)


def _drawn(draw: Any, args: Any, kwargs: Any, mean: Any, std: Any) -> Tensor:
    current = tape.active()
    out: Tensor
    if current is None:
        out = draw(*args, **kwargs)
        return out
    if current.watching:
        out = draw(*args, **kwargs)
        current.wrapped.append(out.numel() if type(out) is Tensor else -1)
        return out
    identity = tape.identity_of(tape.generator_of(args, kwargs)) if current.identify else 0
    mean, std = copied(mean), copied(std)
    out = draw(*args, **kwargs)
    values = current.gaussian(identity, out, mean, std)
    if values is not None:
        out.detach().copy_(values.view(out.shape))
    return out
