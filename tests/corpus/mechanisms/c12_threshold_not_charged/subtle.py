"""Class 12: the threshold follows the fraction of clipped rows, slowly, without noise."""

import math

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.threshold = max_grad_norm

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.threshold / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier * self.threshold
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        released = [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]
        clipped = (norms > self.threshold).float().sum().item() / self.batch_size
        self.threshold *= math.exp(0.02 * (clipped - 0.5))  # the fault
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
