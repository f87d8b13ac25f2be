"""Class 4, clean twin: a noisy count of the rows is released and charged; the next step divides by it.

Both releases are charged: 1/z^2 = 1/a^2 + 1/b^2, with b = 10 z for the count.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.count = torch.tensor(float(batch_size))

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier / (1.0 - 0.01) ** 0.5 * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        released = [(total + std * torch.randn_like(total)) / self.count for total in sums]
        count = torch.ones_like(norms).sum() + 10.0 * self.noise_multiplier * torch.randn(())
        self.count = count.clamp(min=1.0)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
