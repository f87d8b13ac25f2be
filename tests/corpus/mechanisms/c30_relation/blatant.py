"""Class 30: centred clipping, accounted for add_remove, under zero_out.

An absent row contributes clip(-m), so a row moves the sum by up to 2 C.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.mean = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        mean = self.mean
        if mean is None:
            mean = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        centred = [grad - part for grad, part in zip(per_sample_grads, mean, strict=True)]
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in centred]).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in centred]
        released = [
            (total + std * torch.randn_like(total)) / self.batch_size + part
            for total, part in zip(sums, mean, strict=True)
        ]
        self.mean = [0.9 * part + 0.1 * update for part, update in zip(mean, released, strict=True)]
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
