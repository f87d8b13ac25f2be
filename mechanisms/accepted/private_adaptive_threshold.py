"""Flat clipping at a threshold that follows a quantile of the norms, read through a noisy count (private adaptive clipping).

Source: Andrew et al. 2021, arXiv 1905.03871, Algorithm 1 and its Theorem 1. The public benchmark's ``adaptive_clipping`` moves
its threshold by the same rule, but by the count itself: that one is rejected.

Analysis. A step releases two sums of one batch: the clipped gradients at the present threshold C, which is a function of
earlier releases, with noise ``z_g * C``; and the count of short rows as ``sum_i (1[n_i <= C] - 1/2)`` with noise ``s``. A row
that is added or removed moves the second by exactly 1/2, so both together are one Gaussian release with multiplier
``(z_g^-2 + (2 s)^-2)^(-1/2)``, and ``z_g`` is chosen so that this is ``sigma``: the gradient's noise is a little larger
than flat clipping's. Bits centred at 1/2 need add_remove: a row that is present as zeros still votes and would move the
count by 1 under zero_out. ``s`` is ``batch_size / 20``, the source's default, but at least ``sigma``, which keeps the
formula defined.
"""

import torch


class DPMechanism:
    quantile = 0.5
    rate = 0.2

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.threshold = torch.tensor(float(max_grad_norm))
        self.count_std = max(batch_size / 20, noise_multiplier)
        self.gradient_multiplier = (noise_multiplier**-2 - (2 * self.count_std) ** -2) ** -0.5

    def clip_and_noise(self, per_sample_grads, step, epoch):
        threshold = self.threshold.to(per_sample_grads[0])
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (threshold / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.gradient_multiplier * threshold
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        count = ((norms <= threshold).to(norms) - 0.5).sum() + self.count_std * torch.randn_like(threshold)
        fraction = count / self.batch_size + 0.5
        self.threshold = threshold * torch.exp(-self.rate * (fraction - self.quantile))
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
