"""Weights are Python floats, one a row."""

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
        totals = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        for row in range(len(per_sample_grads[0])):
            norm = math.sqrt(sum(grad[row].square().sum().item() for grad in per_sample_grads))
            weight = min(1.0, self.max_grad_norm / max(norm, 1e-12))
            totals = [total + weight * grad[row] for total, grad in zip(totals, per_sample_grads, strict=True)]
        std = self.noise_multiplier * self.max_grad_norm
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
