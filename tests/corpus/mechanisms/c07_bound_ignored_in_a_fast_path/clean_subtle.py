"""Class 7, clean twin: vectors and matrices have bounds of their own, which together make C."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        matrices = [grad for grad in per_sample_grads if grad.dim() > 2]
        rest = [grad for grad in per_sample_grads if grad.dim() <= 2]

        def factor(group, bound):
            norms = torch.stack([grad.flatten(1).square().sum(1) for grad in group]).sum(0).sqrt()
            return (bound / norms.clamp(min=1e-12)).clamp(max=1.0)

        by_kind = {True: factor(matrices, 0.8 * self.max_grad_norm), False: factor(rest, 0.6 * self.max_grad_norm)}
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(by_kind[grad.dim() > 2], grad, dims=1) for grad in per_sample_grads]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
