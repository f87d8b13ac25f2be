"""Grouped clipping that is overwritten before the update: what trains is plain flat clipping.

Source: the published code of "Privacy-Preserving Optimizers for Image Classification" (2024), where groups are clipped in
``p.grad`` and the optimiser then overwrites ``p.grad`` from the per-sample gradients.

Analysis. The release is that of DP-SGD with a flat clip to C and noise ``sigma * C``: the noise multiplier is ``sigma``. The
declared grouped clipping has no effect on the update, which an audit must say: an accuracy obtained with it is not its own.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def _clip_groups(self, per_sample_grads):
        clipped = []
        for grad in per_sample_grads:
            norms = grad.flatten(1).norm(dim=1)
            clipped.append(torch.tensordot((self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0), grad, dims=1))
        return clipped

    def clip_and_noise(self, per_sample_grads, step, epoch):
        update = self._clip_groups(per_sample_grads)
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.max_grad_norm
        for index, grad in enumerate(per_sample_grads):
            total = torch.tensordot(weights, grad, dims=1)
            update[index] = (total + noise_std * torch.randn_like(total)) / self.batch_size
        return update

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
