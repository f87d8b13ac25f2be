"""Class 2: torch's own gradient clipping is called on parameters that hold the mean."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        held = [torch.nn.Parameter(torch.zeros_like(grad[0])) for grad in per_sample_grads]
        for parameter, grad in zip(held, per_sample_grads, strict=True):
            parameter.grad = grad.sum(0) / self.batch_size
        torch.nn.utils.clip_grad_norm_(held, self.max_grad_norm)  # the fault
        std = self.noise_multiplier * self.max_grad_norm / self.batch_size
        return [parameter.grad + std * torch.randn_like(parameter.grad) for parameter in held]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
