"""One call of a mechanism, with everything that it returns checked at the border."""

import math

import torch
from torch import Tensor

from .candidate import Mechanism, MechanismError


def noised_gradients(
    mechanism: Mechanism, per_sample_grads: list[Tensor], *, step: int, epoch: int, file: str
) -> list[Tensor]:
    """What ``clip_and_noise`` returns for one step: one tensor a parameter, of that parameter's shape.

    Raises:
        MechanismError: it raised, or returned something else.
    """
    shapes = [tuple(gradient.shape[1:]) for gradient in per_sample_grads]
    like = per_sample_grads[0]
    try:
        returned = list(mechanism.clip_and_noise(per_sample_grads, step, epoch))
    except (Exception, SystemExit) as error:
        raise MechanismError.from_exception(error, file=file, doing=f"clip_and_noise ran at step {step}") from error
    return checked_gradients(returned, shapes, like=like, what="clip_and_noise", step=step, file=file)


def checked_gradients(
    returned: list[Tensor], shapes: list[tuple[int, ...]], *, like: Tensor, what: str, step: int, file: str
) -> list[Tensor]:
    """What a candidate returned, if it is one tensor a parameter of that parameter's shape.

    Raises:
        MechanismError: it is something else.
    """
    got = [tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for value in returned]
    if got != shapes:
        raise MechanismError(
            f"mechanism: {file}: expected {what} to return tensors of shapes {shapes} at step {step}, got "
            f"{got}; return one noised average a parameter",
            file=file,
            line=None,
        )
    return [value.detach().to(device=like.device, dtype=like.dtype) for value in returned]


def reported_sigma(mechanism: Mechanism, *, step: int, epoch: int, file: str) -> float | None:
    """What ``get_effective_sigma`` says right after a step, or ``None`` if that is no finite number of at least 0.

    Raises:
        MechanismError: it raised.
    """
    try:
        said: object = mechanism.get_effective_sigma(step, epoch)
    except (Exception, SystemExit) as error:
        raise MechanismError.from_exception(
            error, file=file, doing=f"get_effective_sigma ran at step {step}"
        ) from error
    try:
        sigma = float(said)  # type: ignore[arg-type]  # a candidate may return anything, a tensor of one number too
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None
    return sigma if math.isfinite(sigma) and sigma >= 0 else None


def copy_into_gradients(model: torch.nn.Module, noised: list[Tensor]) -> None:
    """Make the released update the gradient that the optimiser sees."""
    for parameter, value in zip(model.parameters(), noised, strict=True):
        parameter.grad = value
