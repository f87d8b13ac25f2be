"""AUTO-S with a cosine noise schedule and averaging of released gradients; the report is a constant.

Source: mechanism 6 of the public benchmark ``optimization-dp-sgd``.

Why it is rejected. Normalisation and the average of released updates are sound. The noise follows
``sigma_0 * f(t)``, f a cosine from 1 to 0.65, with sigma_0 set so that the mean of 1/sigma_t^2 is matched; the report is
the constant sigma. Matching that mean does not match epsilon under subsampling: the schedule costs 4.31 at sigma 0.6508
(q 256/60000, 1,170 steps), and from some step on the reported sigma is above the one that ran.
"""

import math

import torch


class DPMechanism:
    gamma = 0.01
    floor = 0.65
    smoothing = 0.5

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.steps = epochs * (dataset_size // batch_size)
        mean = sum(self._shape(step) ** -2 for step in range(self.steps)) / self.steps
        self.first_sigma = noise_multiplier * math.sqrt(mean)
        self.average = None

    def _shape(self, step):
        progress = min(1.0, step / max(1, self.steps - 1))
        return self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * progress))

    def clip_and_noise(self, per_sample_grads, step, epoch):
        sigma = self.first_sigma * self._shape(step)
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = 1.0 / (norms + self.gamma)
        noisy = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            noisy.append((total + sigma * torch.randn_like(total)) / self.batch_size)
        if self.average is None:
            self.average = noisy
        else:
            self.average = [
                self.smoothing * old + (1.0 - self.smoothing) * new
                for old, new in zip(self.average, noisy, strict=True)
            ]
        return [update.clone() for update in self.average]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
