"""Class 4, clean twin: the divisor is the public batch size, whatever was sampled."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        divisor = float(self.batch_size)
        std = self.noise_multiplier * self.max_grad_norm
        return [
            torch.tensordot(weights, grad, dims=1).add(torch.randn(grad.shape[1:]), alpha=std).div(divisor)
            for grad in per_sample_grads
        ]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
