"""Flat clipping with Gaussian noise (DP-SGD).

Source: Abadi et al. 2016, arXiv 1607.00133, Algorithm 1; mechanism 1 of the public benchmark ``optimization-dp-sgd``.

Analysis. Each sample contributes ``min(1, C / norm) * g`` with the norm taken jointly over all parameters, so one row
moves the sum by at most C under add_remove and zero_out, by at most 2C under replace_one. The noise on the sum is
``sigma * C`` per coordinate: the noise multiplier is exactly ``sigma``. The divisor is the public batch size.
At the benchmark's own sigma it overspends only because that sigma was calibrated with an invalid formula.
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
        weights = self.weights(torch.stack(squares).sum(0).sqrt())
        noise_std = self.noise_std()
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def weights(self, norms):
        return (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)

    def noise_std(self):
        return self.noise_multiplier * self.max_grad_norm

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
