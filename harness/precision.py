"""Which precision each part of a step may use.

Forward and backward passes may be rounded to bfloat16 or TF32: whatever gradient comes out is the gradient that is then
clipped. Norms and clipped sums may not: a row that is rounded AFTER its norm was taken can exceed the bound by the
rounding (up to 0.4 % in bfloat16, 0.05 % in TF32), which no noise was calibrated for.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .recipe import Engine


@contextmanager
def forward_precision(engine: Engine, *, device: torch.device | None = None) -> Iterator[None]:
    """For forward and backward passes; ``device`` is needed for the forward pass, where autocast chooses types."""
    with _tf32(engine.tf32):
        if engine.bf16 and device is not None:
            with torch.autocast(device.type, dtype=torch.bfloat16):
                yield
        else:
            yield


@contextmanager
def full_precision() -> Iterator[None]:
    """For norms, sums and noise: float32 products are float32 products."""
    with _tf32(False):
        yield


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    if not torch.cuda.is_available():
        yield
        return
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
