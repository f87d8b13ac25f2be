"""Class 3, clean twin: the sums of two halves are averaged over the whole batch."""

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
        std = self.noise_multiplier * self.max_grad_norm / self.batch_size
        released = []
        for grad in per_sample_grads:
            weighted = weights.view(-1, *[1] * (grad.dim() - 1)) * grad
            first, second = weighted[0::2], weighted[1::2]
            mean = first.sum(0) / self.batch_size + second.sum(0) / self.batch_size
            released.append(mean + std * torch.randn_like(mean))
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
