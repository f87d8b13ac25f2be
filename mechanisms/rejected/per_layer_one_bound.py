"""Every layer normalised to its own bound, with noise for a single bound.

Source: submissions to the public benchmark ``optimization-dp-sgd`` (item 8); Opacus issue 202; the grouped clipping of
"Privacy-Preserving Optimizers for Image Classification" (2024).

Why it is rejected. Each of the L parameters contributes up to C, so a row moves the release by up to ``sqrt(L) * C``. The
noise is ``sigma * C``: the noise multiplier is ``sigma / sqrt(L)``.
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
        noise_std = self.noise_multiplier * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            norms = grad.flatten(1).norm(dim=1)
            weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
