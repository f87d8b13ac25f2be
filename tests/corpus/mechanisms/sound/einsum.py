"""Norms and sums by einsum."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        flats = [grad.flatten(1) for grad in per_sample_grads]
        squares = sum(torch.einsum("bd,bd->b", flat, flat) for flat in flats)
        weights = (self.max_grad_norm / squares.sqrt().clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            total = torch.einsum("b,b...->...", weights, grad)
            released.append((total + std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
