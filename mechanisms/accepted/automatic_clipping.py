"""Automatic clipping, AUTO-S: every sample is normalised instead of clipped.

Source: Bu et al. 2023, arXiv 2206.07136; mechanism 3 of the public benchmark ``optimization-dp-sgd``.

Analysis. Each sample contributes ``g / (norm + gamma)`` with ``gamma > 0`` and the norm joint over all parameters: its
length is below 1 for every g, and approaches 1 for large ones. The noise on the sum is ``sigma`` per coordinate, so the
noise multiplier is ``sigma``. There is no clipping bound to choose: ``max_grad_norm`` is not used.
"""

import torch


class DPMechanism:
    gamma = 0.01

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        weights = self.weights(torch.stack(squares).sum(0).sqrt())
        noise_std = self.noise_std()
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def weights(self, norms):
        return 1.0 / (norms + self.gamma)

    def noise_std(self):
        return self.noise_multiplier

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
