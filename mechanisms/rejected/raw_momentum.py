"""Momentum on the clipped mean BEFORE the noise.

Source: submissions to the public benchmark ``optimization-dp-sgd`` (item 8).

Why it is rejected. The buffer carries the un-noised means of all earlier batches: a row that was sampled once moves every
later release, in steps that did not sample it, so neither the sensitivity nor the amplification of a single step holds.
"""

import torch


class DPMechanism:
    momentum = 0.9

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.buffers = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        means = [torch.tensordot(weights, grad, dims=1) / self.batch_size for grad in per_sample_grads]
        if self.buffers is None:
            self.buffers = [torch.zeros_like(mean) for mean in means]
        self.buffers = [
            self.momentum * buffer + (1.0 - self.momentum) * mean
            for buffer, mean in zip(self.buffers, means, strict=True)
        ]
        noise_std = self.noise_multiplier * self.max_grad_norm / self.batch_size
        return [buffer + noise_std * torch.randn_like(buffer) for buffer in self.buffers]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
