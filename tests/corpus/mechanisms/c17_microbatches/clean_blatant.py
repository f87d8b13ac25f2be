"""Class 17, clean twin: microbatches of one row."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        std = self.noise_multiplier * self.max_grad_norm
        totals = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        for row in zip(*per_sample_grads, strict=True):
            norm = torch.stack([part.square().sum() for part in row]).sum().sqrt()
            weight = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)
            totals = [total + weight * part for total, part in zip(totals, row, strict=True)]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
