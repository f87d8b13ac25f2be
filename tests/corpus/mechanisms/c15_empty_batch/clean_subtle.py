"""Class 15, clean twin: rows are added in a loop that an empty batch does not enter."""

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
        for row in range(per_sample_grads[0].shape[0]):
            squares = [grad[row].square().sum() for grad in per_sample_grads]
            weight = (self.max_grad_norm / torch.stack(squares).sum().sqrt().clamp(min=1e-12)).clamp(max=1.0)
            totals = [total + weight * grad[row] for total, grad in zip(totals, per_sample_grads, strict=True)]
        std = self.noise_multiplier * self.max_grad_norm
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
