"""Class 36: the raw mean norm of one step scales the next step's update, by a per mille at most."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.rate = torch.tensor(1.0)

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        rate = self.rate
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        self.rate = 1.0 + 0.001 * torch.tanh(norms.sum() / self.batch_size)  # the fault
        return [rate * (total + std * torch.randn_like(total)) / self.batch_size for total in sums]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
