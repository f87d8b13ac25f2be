"""Noise that falls with the layer: the noise multiplier of layer l is sigma / (l + 1).

Source: "Privacy-Preserving Optimizers for Image Classification" (2024), per-layer noise.

Why it is rejected. Every layer is clipped to C and gets noise ``sigma * C / (l + 1)``. Blocks with sensitivities S_l and
noise s_l have the joint noise multiplier ``(sum_l (S_l / s_l)^2)^(-1/2)``: for sigma 1.1 and 40 layers 0.0074. The last layers
are all but bare.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        released = []
        for layer, grad in enumerate(per_sample_grads):
            norms = grad.flatten(1).norm(dim=1)
            weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, grad, dims=1)
            noise_std = self.noise_multiplier / (layer + 1) * self.max_grad_norm
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
