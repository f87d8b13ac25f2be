"""Per-layer bounds taken from the batch mean of the layer's norms.

Source: submissions to the public benchmark ``optimization-dp-sgd`` (item 8).

Why it is rejected. The bounds are split over the layers in proportion to the mean norm of the batch: a private statistic
decides how every sample is scaled and how the noise is shared out, and it is released through the scale of the noise.
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
        norms = [grad.flatten(1).norm(dim=1) for grad in per_sample_grads]
        means = torch.stack([norm.sum() / self.batch_size + 1e-6 for norm in norms])
        bounds = self.max_grad_norm * means / means.norm()
        scale = len(per_sample_grads) ** 0.5
        released = []
        for grad, norm, bound in zip(per_sample_grads, norms, bounds, strict=True):
            weights = (bound / norm.clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, grad, dims=1)
            noise = self.noise_multiplier * scale * bound * torch.randn_like(total)
            released.append((total + noise) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
