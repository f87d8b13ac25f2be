"""Class 11, clean twin: gradient and threshold share the budget (Andrew et al. 2021, arXiv 1905.03871)."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.threshold = torch.tensor(max_grad_norm)
        self.count_std = batch_size / 20
        self.gradient_multiplier = (noise_multiplier**-2 - (2 * self.count_std) ** -2) ** -0.5

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.threshold / norms.clamp(min=1e-12)).clamp(max=1.0)
        below = (norms <= self.threshold).float() - 0.5
        fraction = (below.sum() + self.count_std * torch.randn(())) / self.batch_size + 0.5
        std = self.gradient_multiplier * self.threshold
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        released = [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]
        self.threshold = self.threshold * torch.exp(-0.2 * (fraction - 0.5))
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
