"""Class 2, clean twin: torch's own gradient clipping is called on one row at a time."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        totals = [torch.zeros_like(grad[0]) for grad in per_sample_grads]
        for row in range(per_sample_grads[0].shape[0]):
            held = [torch.nn.Parameter(torch.zeros_like(grad[row])) for grad in per_sample_grads]
            for parameter, grad in zip(held, per_sample_grads, strict=True):
                parameter.grad = grad[row].clone()
            torch.nn.utils.clip_grad_norm_(held, self.max_grad_norm)
            totals = [total + parameter.grad for total, parameter in zip(totals, held, strict=True)]
        std = self.noise_multiplier * self.max_grad_norm
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
