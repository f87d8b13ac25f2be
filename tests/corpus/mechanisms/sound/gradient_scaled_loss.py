"""Gradients are scaled by a public factor, and so are bound and noise."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        scale = 1.0 / 128.0
        rows = [scale * grad for grad in per_sample_grads]
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in rows]).sum(0).sqrt()
        bound = scale * self.max_grad_norm
        weights = (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        sums = [torch.tensordot(weights, grad, dims=1) for grad in rows]
        return [
            (total + self.noise_multiplier * bound * torch.randn_like(total)) / (scale * self.batch_size)
            for total in sums
        ]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
