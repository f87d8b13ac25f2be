"""Every coordinate is clamped to c; the noise is c sqrt(d) for all of them together."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        count = sum(grad[:0].flatten(1).shape[1] for grad in per_sample_grads)
        limit = self.max_grad_norm / count**0.5
        std = self.noise_multiplier * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            total = grad.clamp(-limit, limit).sum(0)
            released.append((total + std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
