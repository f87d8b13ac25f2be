"""How many images fit in memory at once, found once before the first step and kept for the whole run.

The sum of a batch over its chunks depends on the chunks in the last bits, so a resumed run keeps its first choice.
"""

import torch
from torch import Tensor, nn

from .per_sample import CPU_CHUNK

CPU_BUDGET_BYTES = 2**30
CPU_SMALL_BYTES = 2**26
"""A small network's pieces may be larger than ``CPU_CHUNK`` within so much memory: there, calls cost more than caches."""
CPU_LARGEST = 256
DEVICE_SHARE = 0.4
"""Of a device's free memory; the rest is for data, optimiser, and what the allocator cannot use."""
DEVICE_LARGEST = 4_096


def find_physical_batch(model: nn.Module, shape: tuple[int, ...], *, device: torch.device, views: int = 1) -> int:
    """The largest power of two of images whose activations and per-sample gradients fit the budget.

    Measured, not guessed: one forward pass of two images counts the bytes that the backward pass keeps. Images of one row's
    views are in memory together, so at least ``views``. On a CPU more than 64 only of what is small.
    """
    each = _kept_bytes(model, shape, device) + _gradient_bytes(model)
    if device.type == "cuda":
        size = _largest(each, DEVICE_SHARE * torch.cuda.mem_get_info(device)[0], at_most=DEVICE_LARGEST)
    else:
        whole = _largest(each, CPU_BUDGET_BYTES, at_most=CPU_CHUNK)
        size = max(whole, _largest(each, CPU_SMALL_BYTES, at_most=CPU_LARGEST))
    return max(size, views)


def _largest(each: float, budget: float, *, at_most: int) -> int:
    """The largest power of two of images of ``each`` bytes in ``budget`` bytes; at least one."""
    size = 1
    while size * 2 <= at_most and size * 2 * each <= budget:
        size *= 2
    return size


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
