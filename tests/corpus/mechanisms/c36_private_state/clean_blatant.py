"""Class 36, clean twin: what a clip of the RELEASED update cuts off is kept and added to the next one."""

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
        std = self.noise_multiplier * self.max_grad_norm
        if self.error is None:
            self.error = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        released = []
        kept = []
        for grad, error in zip(per_sample_grads, self.error, strict=True):
            total = torch.tensordot(weights, grad, dims=1)
            update = (total + std * torch.randn_like(total)) / self.batch_size + error
            cut = update.clamp(-0.05, 0.05)
            kept.append(update - cut)
            released.append(cut)
        self.error = kept
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
