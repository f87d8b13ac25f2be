"""Class 8: chunks of a batch are added with the first chunk's view, which the loop has changed in place.

Every row but the first is counted twice.
"""

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
        std = self.noise_multiplier * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            weighted = weights.view(-1, *[1] * (grad.dim() - 1)) * grad
            total = weighted[0]
            for row in weighted[1:]:
                total += row  # the fault: total is a view of weighted[0]
            whole = weighted.sum(0) - total + weighted[0]
            released.append((whole + std * torch.randn_like(whole)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
