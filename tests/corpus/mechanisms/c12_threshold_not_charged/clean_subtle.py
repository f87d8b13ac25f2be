"""Class 12, clean twin: a noisy sum of bounded norms is released, charged, and sets the next threshold.

The two releases share the budget: 1/z^2 = 1/(1.25 z)^2 + 1/(5 z / 3)^2.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.threshold = torch.tensor(max_grad_norm)

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.threshold / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = 1.25 * self.noise_multiplier * self.threshold
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        released = [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]
        sizes = (norms / self.threshold).clamp(max=1.0).sum() + 5.0 * self.noise_multiplier / 3.0 * torch.randn(())
        self.threshold = self.threshold * torch.exp(0.1 * (sizes / self.batch_size - 0.8).clamp(-1.0, 1.0))
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
