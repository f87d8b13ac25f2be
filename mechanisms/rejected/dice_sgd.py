"""DiceSGD: clipping with error feedback, accounted for by the first clip alone.

Source: Zhang et al. 2023, arXiv 2311.14632; baseline of "Privacy-Preserving Optimizers for Image Classification" (2024).

Why it is rejected. The hidden error ``e`` collects what clipping cut off: it holds raw gradients of all earlier batches and
enters every later release through the second clip, in steps that did not sample the row too. Noise ``sigma * C`` is scaled for
the first clip only. The algorithm has an analysis of its own, with more noise; a per-step noise multiplier is not it.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.errors = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        if self.errors is None:
            self.errors = [torch.zeros_like(grad[:1]).sum(0) for grad in per_sample_grads]
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        error_norm = torch.stack([error.square().sum() for error in self.errors]).sum().sqrt()
        error_weight = (self.max_grad_norm / error_norm.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.max_grad_norm / self.batch_size
        released, errors = [], []
        for grad, error in zip(per_sample_grads, self.errors, strict=True):
            update = torch.tensordot(weights, grad, dims=1) / self.batch_size + error_weight * error
            errors.append(error + grad.sum(0) / self.batch_size - update)
            released.append(update + noise_std * torch.randn_like(update))
        self.errors = errors
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
