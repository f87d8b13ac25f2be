"""Class 33: noise drawn in float16 and scaled afterwards."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        released = []
        for total in sums:
            noise = torch.empty(total.shape, dtype=torch.float16).normal_()  # the fault
            released.append((total + std * noise.to(total.dtype)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
