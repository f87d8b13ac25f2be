"""Settings in a frozen dataclass, steps in functions outside the class."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Settings:
    bound: float
    noise_std: float
    divisor: int


def row_norms(grads):
    return torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()


def clip_weights(norms, bound):
    return (bound / norms.clamp(min=1e-12)).clamp(max=1.0)


def noisy_mean(total, settings):
    return (total + settings.noise_std * torch.randn_like(total)) / settings.divisor


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.settings = Settings(max_grad_norm, noise_multiplier * max_grad_norm, batch_size)

    def clip_and_noise(self, per_sample_grads, step, epoch):
        weights = clip_weights(row_norms(per_sample_grads), self.settings.bound)
        return [noisy_mean(torch.tensordot(weights, grad, dims=1), self.settings) for grad in per_sample_grads]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
