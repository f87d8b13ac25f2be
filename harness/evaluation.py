"""Test accuracy of the weights that a run would release."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .datasets import Dataset

_EVALUATION_BATCH = 1_000


def measured_accuracy(model: nn.Module, data: Dataset, *, average: dict[str, Tensor] | None = None) -> float:
    """Percent of test images whose largest logit is their label's, without augmentation and dropout.

    Args:
        average: parameters to use in place of the model's own.
    """
    images, labels = data.test_images, data.test_labels
    correct = torch.zeros((), dtype=torch.int64, device=images.device)
    model.eval()
    with torch.no_grad():
        for start in range(0, len(images), _EVALUATION_BATCH):
            part = slice(start, start + _EVALUATION_BATCH)
            inputs = data.normalised(images[part])
            logits = model(inputs) if average is None else functional_call(model, average, (inputs,))
            correct += (logits.argmax(1) == labels[part]).sum()
    model.train()
    return 100.0 * int(correct) / len(images)
