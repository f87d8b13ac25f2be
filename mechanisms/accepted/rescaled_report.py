"""Flat clipping under a public, decaying bound whose report is rescaled by mistake.

Source: one of the per-layer and scheduled variants submitted to the public benchmark ``optimization-dp-sgd`` (item 8).

Analysis. The bound decays by 5 % an epoch, a schedule fixed in advance. The noise is ``sigma * C_t`` on a sum of
contributions of length at most ``C_t``: the noise multiplier is ``sigma`` at every step, whatever the bound. The report
multiplies it by ``C_t / C_0`` and so understates the noise: sound, and worth mending, because the budget that it
believes spent was not.
"""

import torch


class DPMechanism:
    decay = 0.95

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def _bound(self, epoch):
        return self.max_grad_norm * self.decay ** (epoch - 1)

    def clip_and_noise(self, per_sample_grads, step, epoch):
        bound = self._bound(epoch)
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * bound
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier * self._bound(epoch) / self.max_grad_norm
