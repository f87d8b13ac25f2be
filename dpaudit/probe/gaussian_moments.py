"""Mean and standard deviation that a Gaussian draw was asked for, and its standardised value."""

from typing import Any

import torch
from torch import Tensor


def moments_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """Mean and standard deviation that a Gaussian operation was asked for."""
    name = func._schema.name.split("::")[1]
    if name in {"randn", "randn_like"}:
        return 0.0, 1.0
    values = {"mean": 0.0, "std": 1.0}
    for position, argument in enumerate(func._schema.arguments):
        if argument.name in values:
            if position < len(args):
                values[argument.name] = args[position]
            elif argument.name in kwargs:
                values[argument.name] = kwargs[argument.name]
    return copied(values["mean"]), copied(values["std"])


def copied(value: Any) -> Any:
    """A moment that later operations cannot change."""
    return value.detach().clone() if isinstance(value, Tensor) else value


def flat(value: Any, like: Tensor) -> Any:
    """A moment as a float, or as a flat float64 tensor with one value for each of ``like``'s."""
    if isinstance(value, Tensor) and value.numel() != 1:
        return value.to(torch.float64).broadcast_to(like.shape).reshape(-1)
    return float(value)


def is_standard(mean: Any, std: Any) -> bool:
    """Mean 0 and standard deviation 1."""
    return type(mean) is float and type(std) is float and mean == 0.0 and std == 1.0


def same_moment(here: Any, there: Any) -> bool:
    """Whether two draws were asked for the same mean, or standard deviation, exactly."""
    if isinstance(here, Tensor) and isinstance(there, Tensor):
        return torch.equal(here, there)
    return not isinstance(here, Tensor) and not isinstance(there, Tensor) and bool(here == there)


def standardise(drawn: Tensor, mean: Any, std: Any) -> Tensor:
    """z of a draw. Where std is 0 the draw says nothing about z; a fresh one is made up, and has no effect."""
    z: Tensor = (drawn.detach().to(torch.float64).reshape(-1) - flat(mean, drawn)) / flat(std, drawn)
    bad = ~torch.isfinite(z)
    if bad.any():
        z[bad] = torch.randn(int(bad.sum()), dtype=torch.float64, generator=_SPARE)
    return z


_SPARE = torch.Generator().manual_seed(20_240_229)
