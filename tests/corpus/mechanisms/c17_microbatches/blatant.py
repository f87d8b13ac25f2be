"""Class 17: neighbouring rows are summed in pairs and the pair is clipped; a row changes its neighbour's weight.

One row more or less also moves every later pair.
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
        rows = per_sample_grads[0].shape[0]
        std = self.noise_multiplier * self.max_grad_norm
        totals = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        for start in range(0, rows, 2):
            pair = [grad[start : start + 2].sum(0) for grad in per_sample_grads]
            norm = torch.stack([part.square().sum() for part in pair]).sum().sqrt()
            weight = (self.max_grad_norm / norm.clamp(min=1e-12)).clamp(max=1.0)  # the fault
            totals = [total + weight * part for total, part in zip(totals, pair, strict=True)]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
