"""Weights and biases in groups of their own, bounds 0.8 C and 0.6 C."""

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
        released = []
        groups = {True: [], False: []}
        for grad in per_sample_grads:
            groups[grad.dim() > 2].append(grad.flatten(1).square().sum(1))
        factors = {}
        for large, bound in ((True, 0.8), (False, 0.6)):
            norms = torch.stack(groups[large]).sum(0).sqrt()
            factors[large] = (bound * self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        for grad in per_sample_grads:
            total = torch.tensordot(factors[grad.dim() > 2], grad, dims=1)
            released.append((total + std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
