"""Grouped clipping whose bounds share one budget: k groups, each clipped to C / sqrt(k).

Source: the sound form of the grouped clipping of "Privacy-Preserving Optimizers for Image Classification" (2024);
McMahan et al. 2018, arXiv 1812.06210, for per-group bounds with joint sensitivity ``sqrt(sum C_j^2)``.

Analysis. The groups are fixed by the order of the parameters, so they are public. A row contributes at most ``C / sqrt(k)``
to each of the k groups, jointly at most ``C``. The noise on the sum is ``sigma * C`` per coordinate: the noise multiplier is
``sigma``.
"""

import math

import torch


class DPMechanism:
    groups = 40

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        groups = min(self.groups, len(per_sample_grads))
        per_group = math.ceil(len(per_sample_grads) / groups)
        groups = math.ceil(len(per_sample_grads) / per_group)
        bound = self.max_grad_norm / math.sqrt(groups)
        noise_std = self.noise_multiplier * self.max_grad_norm
        released = []
        for first in range(0, len(per_sample_grads), per_group):
            group = per_sample_grads[first : first + per_group]
            squares = [grad.flatten(1).square().sum(1) for grad in group]
            norms = torch.stack(squares).sum(0).sqrt()
            weights = (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
            for grad in group:
                total = torch.tensordot(weights, grad, dims=1)
                released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
