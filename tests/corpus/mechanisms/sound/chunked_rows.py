"""The batch is worked through in chunks of sixteen rows."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        totals = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        for chunk in zip(*[grad.split(16) for grad in per_sample_grads], strict=True):
            norms = torch.stack([part.flatten(1).square().sum(1) for part in chunk]).sum(0).sqrt()
            weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
            totals = [total + torch.tensordot(weights, part, dims=1) for total, part in zip(totals, chunk, strict=True)]
        std = self.noise_multiplier * self.max_grad_norm
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
