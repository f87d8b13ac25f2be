"""The text of a mechanism file around an Opacus optimiser: its own code, the settings that the user's script made."""

from collections.abc import Mapping
from typing import Any

_AROUND = '''

class AuditedOptimizer({cls}):
    """The optimiser with no virtual step waiting: every call is one logical step."""

    def _check_skip_next_step(self, pop_next=True):
        return False


class InnerOptimizer:
    """In place of the wrapped torch optimiser, which only sees the released gradients."""

    def __init__(self, parameters):
        self.param_groups = [{{"params": parameters}}]

    def zero_grad(self, set_to_none=False):
        for p in self.param_groups[0]["params"]:
            p.grad = None


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.optimizer = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        if self.optimizer is None:
            parameters = [torch.zeros(g.shape[1:], dtype=g.dtype).requires_grad_() for g in per_sample_grads]
            self.optimizer = AuditedOptimizer(
                InnerOptimizer(parameters),
{arguments}
            )
        optimizer = self.optimizer
        for p, g in zip(optimizer.params, per_sample_grads):
            p.grad_sample = g.view_as(g)
        optimizer.pre_step()
        update = [p.grad.clone() for p in optimizer.params]
        optimizer.zero_grad(set_to_none=True)
        return update

    def get_effective_sigma(self, step, epoch):
        return {reported}
'''


def bridge_text(optimizer: Mapping[str, Any], reported: tuple[float, ...]) -> str:
    """A mechanism file that runs the optimiser's own step on the per-sample gradients that it is given.

    Args:
        optimizer: class name, inlined source and constructor arguments, as recorded.
        reported: what the accountant was told, one noise multiplier a step; constant where all are equal.
    """
    arguments = "\n".join(f"{' ' * 16}{name}={value!r}," for name, value in optimizer["arguments"].items())
    # No table where one number says it: the analysis follows a number, and a list of them costs one step each.
    told = repr(reported[0]) if len(set(reported)) == 1 else f"REPORTED[min(step, {len(reported) - 1})]"
    table = "" if len(set(reported)) == 1 else f"\nREPORTED = {list(reported)!r}\n"
    text: str = optimizer["text"]
    imports = "" if "import torch\n" in text else "import torch\n"
    return imports + text + table + _AROUND.format(cls=optimizer["class"], arguments=arguments, reported=told)
