"""Optimisers on released gradients. All are post-processing: epsilon does not depend on which one runs."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .recipe import Optimiser, Recipe


class DPAdam(torch.optim.Optimizer):
    """Adam whose second moment has the variance of the privacy noise taken off.

    The second moment of a released gradient is that of the true one plus the noise variance Phi, the same for every
    coordinate; with large noise Adam's denominator is nearly constant. Update: ``m / max(sqrt(max(v - Phi, 0)), floor)``,
    with m and v corrected for their start at zero. ``noise_variance`` must come from public numbers, never from a batch.
    Source: Tang, Shpilevskiy, Lécuyer 2023, arXiv 2312.14334, Algorithm 1.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        noise_variance: float,
        betas: tuple[float, float] = (0.9, 0.999),
        floor: float = 5e-4,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "floor": floor, "noise_variance": noise_variance, "decay": weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; a closure is refused, because it would compute fresh gradients without noise."""
        if closure is not None:
            raise ValueError("DPAdam takes no closure: it would replace released gradients by raw ones")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step_one(parameter, group)

    def _step_one(self, parameter: Tensor, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if group["decay"]:
            gradient = gradient + group["decay"] * parameter
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        steps = int(state["step"])
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1 - first)
        state["square"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        mean = state["mean"] / (1 - first**steps)
        variance = state["square"] / (1 - second**steps) - group["noise_variance"]
        parameter.sub_(group["lr"] * mean / variance.clamp(min=0).sqrt().clamp(min=group["floor"]))


def build_optimiser(recipe: Recipe, model: nn.Module, *, noise_std: float) -> torch.optim.Optimizer:
    """The recipe's optimiser for the parameters of ``model``.

    Args:
        noise_std: of one coordinate of a released gradient, from the public configuration: sigma * C / B.
    """
    parameters, rate, decay = list(model.parameters()), recipe.learning_rate, recipe.weight_decay
    match recipe.optimiser:
        case Optimiser.SGD:
            return torch.optim.SGD(
                parameters, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, weight_decay=decay
            )
        case Optimiser.RMSPROP:
            return torch.optim.RMSprop(parameters, lr=rate, momentum=recipe.momentum, weight_decay=decay)
        case Optimiser.ADAGRAD:
            return torch.optim.Adagrad(parameters, lr=rate, weight_decay=decay)
        case Optimiser.ADAM:
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
        case Optimiser.DP_ADAM:
            return DPAdam(parameters, lr=rate, weight_decay=decay, noise_variance=noise_std**2)
