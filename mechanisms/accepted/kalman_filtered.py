"""Flat clipping whose releases run through a Kalman filter with one gain a tensor.

Source: the idea of filtering released gradients is Zhang et al. 2024 (arXiv 2410.03883, "DiSK", which also evaluates gradients
at a second point; that is left out here). The gain from the innovations is derived here.

Analysis. The release is that of flat clipping: a row moves the sum by at most C, the noise is ``sigma * C`` per coordinate,
the noise multiplier is ``sigma``. The filter sees released values and public numbers only, so it is post-processing. With x
the state of a tensor and y its release, the mean square e of y - x is what the noise explains, v = (sigma C / B)^2, plus
what changed; e is averaged over steps, starts at 2 v, and the gain is ``(e - v) / e``, between ``least_gain`` and 1: releases
that differ from the state by no more than their noise move it slowly.
"""

import torch


class DPMechanism:
    least_gain = 0.3
    memory = 0.9

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.noise_variance = (noise_multiplier * max_grad_norm / batch_size) ** 2
        self.states = None
        self.spreads = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return self.filtered(released)

    def filtered(self, released):
        if self.states is None:
            self.states = [torch.zeros(value.shape, dtype=value.dtype, device=value.device) for value in released]
            self.spreads = [2 * self.noise_variance for _ in released]
        moved = [(value - state).square().mean() for value, state in zip(released, self.states, strict=True)]
        self.spreads = [
            self.memory * spread + (1 - self.memory) * now for spread, now in zip(self.spreads, moved, strict=True)
        ]
        gains = [
            (1.0 - self.noise_variance / spread.clamp(min=1e-30)).clamp(min=self.least_gain, max=1.0)
            for spread in self.spreads
        ]
        self.states = [
            state + gain * (value - state) for state, gain, value in zip(self.states, gains, released, strict=True)
        ]
        return [state.clone() for state in self.states]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
