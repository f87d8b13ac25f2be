"""One row at a time under vmap."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        def clip(*row):
            norm = torch.stack([part.square().sum() for part in row]).sum().sqrt()
            weight = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
            return tuple(weight * part for part in row)

        std = self.noise_multiplier * self.max_grad_norm
        sums = [rows.sum(0) for rows in torch.vmap(clip)(*per_sample_grads)]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
