"""Clipping around a running mean of released gradients, at a threshold that follows raw norms.

Source: mechanism 5 of the public benchmark ``optimization-dp-sgd``.

Why it is rejected. Subtracting an average of RELEASED gradients from every sample and adding it back after the noise is
free post-processing. The threshold is not: it follows the un-noised fraction of residuals above it, and it scales the
noise.
"""

import math

import torch


class DPMechanism:
    memory = 0.9
    rate = 0.2
    quantile = 0.5

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.bound = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.centre = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        if self.centre is None:
            self.centre = [torch.zeros_like(grad.sum(0)) for grad in per_sample_grads]
        residuals = [grad - centre for grad, centre in zip(per_sample_grads, self.centre, strict=True)]
        norms = torch.stack([residual.flatten(1).square().sum(1) for residual in residuals]).sum(0).sqrt()
        if len(norms) > 0:
            clipped = (norms > self.bound).float().mean().item()
            self.bound = min(50.0, max(0.005, self.bound * math.exp(self.rate * (clipped - self.quantile))))
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.bound
        released = []
        for residual, centre in zip(residuals, self.centre, strict=True):
            total = torch.tensordot(weights, residual, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size + centre)
        self.centre = [
            self.memory * centre + (1.0 - self.memory) * update
            for centre, update in zip(self.centre, released, strict=True)
        ]
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
