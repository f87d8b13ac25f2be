"""AUTO-S with noise inversely proportional to the root of a cosine learning rate; the report is a constant.

Source: mechanism 7 of the public benchmark ``optimization-dp-sgd``.

Why it is rejected. ``sigma_t`` is proportional to ``1 / sqrt(lr_t)`` of a cosine schedule (floor 0.05, factor at most 4),
scaled so that the mean of 1/sigma_t^2 is matched, and reported as the constant sigma. The early steps run with too little
noise: 6.52 instead of 3 at sigma 0.6508 (q 256/60000, 1,170 steps).
"""

import math

import torch


class DPMechanism:
    gamma = 0.01
    lr_floor = 0.05
    factor_cap = 4.0

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.steps = epochs * (dataset_size // batch_size)
        mean = sum(self._factor(step) ** -2 for step in range(self.steps)) / self.steps
        self.first_sigma = noise_multiplier * math.sqrt(mean)

    def _factor(self, step):
        progress = min(1.0, step / max(1, self.steps - 1))
        lr = max(self.lr_floor, 0.5 * (1.0 + math.cos(math.pi * progress)))
        return min(self.factor_cap, 1.0 / math.sqrt(lr))

    def clip_and_noise(self, per_sample_grads, step, epoch):
        sigma = self.first_sigma * self._factor(step)
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = 1.0 / (norms + self.gamma)
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + sigma * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
