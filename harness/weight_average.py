"""The exponential moving average of the weights, stepped once a logical step. It sees released values only."""

import torch
from torch import Tensor, nn


class WeightAverage:
    """Average of parameters over steps: ``a <- d_t a + (1 - d_t) w`` with ``d_t = min(decay, (1 + t) / (10 + t))``.

    t counts logical steps from 0, so early steps, far from the end, are forgotten quickly. Buffers are not averaged.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._average = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """After the optimiser's step."""
        kept = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for name, value in model.named_parameters():
            self._average[name].lerp_(value, 1 - kept)
        self._steps += 1

    def parameters(self) -> dict[str, Tensor]:
        """The averaged parameters by name; torch.func.functional_call takes them in place of the model's own."""
        return self._average

    def state(self) -> dict[str, Tensor]:
        """Everything that the following averages depend on."""
        return {**self._average, _STEPS: torch.tensor(self._steps)}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue exactly from a saved state."""
        self._steps = int(state[_STEPS])
        for name, value in self._average.items():
            value.copy_(state[name])


_STEPS = "steps of the average"  # no parameter's name holds a space
