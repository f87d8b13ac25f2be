"""Class 36: error feedback: what the clip cut off is kept and added to the next step."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.error = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        if self.error is None:
            self.error = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        std = self.noise_multiplier * self.max_grad_norm
        released = []
        kept = []
        for grad, error in zip(per_sample_grads, self.error, strict=True):
            clipped = torch.tensordot(weights, grad, dims=1)
            kept.append((grad.sum(0) - clipped) / self.batch_size)
            released.append((clipped + std * torch.randn_like(clipped)) / self.batch_size + 0.1 * error)  # the fault
        self.error = kept
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
