"""Adaptive clipping whose threshold follows the raw fraction of clipped samples.

Source: mechanism 2 of the public benchmark ``optimization-dp-sgd``; the idea is that of Andrew et al. 2021,
arXiv 1905.03871, without their noise on the fraction.

Why it is rejected. The fraction f of samples above the threshold moves the threshold, the threshold scales the noise, and
f carries no noise: one row changes the scale of the noise, an un-noised release that no sigma accounts for.
"""

import math

import torch


class DPMechanism:
    rate = 0.2
    quantile = 0.5

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.bound = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        if len(norms) > 0:
            clipped = (norms > self.bound).float().mean().item()
            self.bound = min(100.0, max(0.01, self.bound * math.exp(self.rate * (clipped - self.quantile))))
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.bound
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
