"""Noise that falls with the layer, scaled so that all layers together have the stated noise multiplier.

Source: the sound form of the per-layer noise of "Privacy-Preserving Optimizers for Image Classification" (2024).

Analysis (derived here). Layer l is clipped to C and gets noise ``a * sigma * C / (l + 1)``. The joint noise multiplier of L
such blocks is ``(sum_l (C / s_l)^2)^(-1/2) = a * sigma / sqrt(sum_l (l + 1)^2)``, so ``a = sqrt(sum_{l <= L} l^2)`` makes it
``sigma``. It is reached by a row that fills every layer's bound. (With all shares equal this is per-layer clipping with noise
for ``sqrt(L)`` bounds.)
"""

import math

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        layers = len(per_sample_grads)
        scale = math.sqrt(sum((layer + 1) ** 2 for layer in range(layers)))
        released = []
        for layer, grad in enumerate(per_sample_grads):
            norms = grad.flatten(1).norm(dim=1)
            weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, grad, dims=1)
            noise_std = scale * self.noise_multiplier / (layer + 1) * self.max_grad_norm
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
