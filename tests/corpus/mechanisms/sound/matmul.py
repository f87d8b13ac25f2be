"""The weighted sum is one matrix product on the flat gradients."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        sizes = [grad[:0].flatten(1).shape[1] for grad in per_sample_grads]
        flat = torch.cat([grad.flatten(1) for grad in per_sample_grads], dim=1)
        norms = torch.linalg.vector_norm(flat, dim=1)
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        total = weights @ flat + self.noise_multiplier * self.max_grad_norm * torch.randn(flat.shape[1])
        parts = (total / self.batch_size).split(sizes)
        return [part.view(grad.shape[1:]) for part, grad in zip(parts, per_sample_grads, strict=True)]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
