"""How many images fit in memory at once, found once before the first step and kept for the whole run.

The sum of a batch over its chunks depends on the chunks in the last bits, so a resumed run keeps its first choice.
"""

import torch
from torch import Tensor, nn

from .per_sample import CPU_CHUNK

CPU_BUDGET_BYTES = 2**30
DEVICE_SHARE = 0.4
"""Of a device's free memory; the rest is for data, optimiser, and what the allocator cannot use."""
DEVICE_LARGEST = 4_096


def find_physical_batch(model: nn.Module, shape: tuple[int, ...], *, device: torch.device, views: int = 1) -> int:
    """The largest power of two of images whose activations and per-sample gradients fit the budget.

    Measured, not guessed: one forward pass of two images counts the bytes that the backward pass keeps. Images of one row's
    views are in memory together, so at least ``views``. On a CPU at most 64, beyond which patches leave the cache.
    """
    budget, largest = float(CPU_BUDGET_BYTES), CPU_CHUNK
    if device.type == "cuda":
        budget, largest = DEVICE_SHARE * torch.cuda.mem_get_info(device)[0], DEVICE_LARGEST
    each = _kept_bytes(model, shape, device) + _gradient_bytes(model)
    size = 1
    while size * 2 <= largest and size * 2 * each <= budget:
        size *= 2
    return max(size, views)


def _kept_bytes(model: nn.Module, shape: tuple[int, ...], device: torch.device) -> float:
    kept: dict[int, int] = {}
    parameters = {parameter.data_ptr() for parameter in model.parameters()}

    def pack(value: Tensor) -> Tensor:
        if value.data_ptr() not in parameters:
            kept[value.data_ptr()] = value.numel() * value.element_size()
        return value

    was_training = model.training
    model.eval()  # draws no dropout masks; what they keep is as large as an activation, and there are few
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            model(torch.zeros((2, *shape), device=device))
    finally:
        model.train(was_training)
    return sum(kept.values()) / 2


def _gradient_bytes(model: nn.Module) -> int:
    """Of one row's gradients, and of the patches of the largest layer, about as much again."""
    return 2 * sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
