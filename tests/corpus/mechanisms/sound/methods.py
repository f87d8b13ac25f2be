"""Clip and noise are methods of their own."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        weights = self.weights(per_sample_grads)
        return [self.noisy(torch.tensordot(weights, grad, dims=1)) for grad in per_sample_grads]

    def weights(self, grads):
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
        return (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)

    def noisy(self, total):
        return (total + self.noise_multiplier * self.max_grad_norm * torch.randn_like(total)) / self.batch_size

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
