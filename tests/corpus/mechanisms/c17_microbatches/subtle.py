"""Class 17: rows are averaged in two interleaved halves, which are clipped and added, with noise for one bound."""

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
        for half in (0, 1):
            part = [grad[half::2].sum(0) for grad in per_sample_grads]
            norm = torch.stack([block.square().sum() for block in part]).sum().sqrt()
            weight = self.max_grad_norm / norm.clamp(min=self.max_grad_norm)  # the fault
            totals = [total + weight * block for total, block in zip(totals, part, strict=True)]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
