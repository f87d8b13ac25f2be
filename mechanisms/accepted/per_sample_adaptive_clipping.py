"""Per-sample adaptive clipping (PSAC): small gradients are enlarged less than by normalisation.

Source: Xia et al. 2023, arXiv 2212.00328, Algorithm 1, with its default r = 0.1; here as factors of the joint norm.

Analysis. Each sample contributes ``C g / (n + r / (n + r))`` with n its norm, joint over all parameters, and ``r > 0``. The
added term is positive, so the contribution is shorter than C for every g, and the noise of ``sigma * C`` per coordinate on
the sum has noise multiplier ``sigma``. Compared with AUTO-S the factor of a sample with norm near 0 is C and not C / r, so
samples that are already fitted do not dominate.
"""

import torch


class DPMechanism:
    softness = 0.1

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def weights(self, norms):
        return self.max_grad_norm / (norms + self.softness / (norms + self.softness))

    def noise_std(self):
        return self.noise_multiplier * self.max_grad_norm

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights, noise_std = self.weights(norms), self.noise_std()
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
