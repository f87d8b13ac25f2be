"""Class 10, clean twin: unequal groups with unequal noise; the noise of each is its bound times the root of their number."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        bounds = [self.max_grad_norm * (1.0 + index) for index in range(len(per_sample_grads))]
        root = len(bounds) ** 0.5
        released = []
        for bound, grad in zip(bounds, per_sample_grads, strict=True):
            norms = grad.flatten(1).norm(dim=1)
            weights = (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + self.noise_multiplier * root * bound * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
