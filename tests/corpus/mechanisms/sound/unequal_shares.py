"""Every tensor has its own bound and its own noise; the squared ratios add up to 1 / z^2."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        count = len(per_sample_grads)
        shares = [(index + 1.0) / (count * (count + 1) / 2) for index in range(count)]
        released = []
        for share, grad in zip(shares, per_sample_grads, strict=True):
            norms = grad.flatten(1).norm(dim=1)
            total = torch.tensordot((self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0), grad, dims=1)
            std = self.noise_multiplier * self.max_grad_norm / share**0.5
            released.append((total + std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
