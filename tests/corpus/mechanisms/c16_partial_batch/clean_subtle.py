"""Class 16, clean twin: a mean over rows of which there are always equally many."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        norms = torch.cat([grad.flatten(1) for grad in per_sample_grads], dim=1).norm(dim=1)
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier * self.max_grad_norm / self.batch_size
        released = []
        for grad in per_sample_grads:
            mean = (weights.view(-1, *[1] * (grad.dim() - 1)) * grad).mean(0)
            released.append(mean + std * torch.randn_like(mean))
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
