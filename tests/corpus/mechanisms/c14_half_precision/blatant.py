"""Class 14: the norm is taken in float16, where small squares vanish: the row is not clipped at all."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        halves = [grad.to(torch.float16).flatten(1) for grad in per_sample_grads]
        squares = torch.stack([(half * 2.0**-12).square().sum(1) for half in halves]).sum(0)
        norms = squares.to(per_sample_grads[0].dtype).sqrt() * 2.0**12  # the fault: squares below 6e-8 are zero
        weights = torch.where(
            norms > 0, (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0), torch.ones_like(norms)
        )
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
