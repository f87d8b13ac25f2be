"""Class 2: the mean of the batch is clipped, not the rows."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        means = [grad.mean(0) * (grad.shape[0] / self.batch_size) for grad in per_sample_grads]
        norm = torch.sqrt(sum(mean.square().sum() for mean in means))
        weight = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)  # the fault
        std = self.noise_multiplier * self.max_grad_norm / self.batch_size
        return [weight * mean + std * torch.randn_like(mean) for mean in means]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
