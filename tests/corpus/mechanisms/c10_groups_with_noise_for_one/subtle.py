"""Class 10: the last tensor, "only a bias", is clipped apart to a tenth of C beside a full C for the rest."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        body, last = per_sample_grads[:-1], per_sample_grads[-1]
        norms = torch.stack([grad.flatten(1).square().sum(1) for grad in body]).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        bias = (0.4 * self.max_grad_norm / last.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)  # the fault
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in body] + [torch.tensordot(bias, last, dims=1)]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
