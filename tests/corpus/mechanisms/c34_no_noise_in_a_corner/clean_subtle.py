"""Class 34, clean twin: noise is drawn once for the whole flat vector and cut into tensors."""

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
        sizes = [grad[:0].flatten(1).shape[1] for grad in per_sample_grads]
        noise = self.noise_multiplier * self.max_grad_norm * torch.randn(sum(sizes))
        released = []
        for grad, part in zip(per_sample_grads, noise.split(sizes), strict=True):
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + part.view_as(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
