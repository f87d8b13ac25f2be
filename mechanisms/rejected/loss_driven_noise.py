"""A noise multiplier that follows the training loss: lower while the loss is high, higher when it is low.

Source: the dynamic noise multiplier of "Privacy-Preserving Optimizers for Image Classification" (2024). A mechanism is not
given the loss here; the mean gradient norm of the batch, which falls with it, stands in its place. It is as private.

Why it is rejected. The scale of the noise is computed from raw gradients and released with every update: whoever sees the
spread of the update reads the mean norm, and with it the presence of a row. It reports what it added, which is no remedy:
the schedule itself is the leak. It would need the loss released with noise and charged, under a privacy filter.
"""

import torch


class DPMechanism:
    span = 0.4

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.current = noise_multiplier

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        level = (norms.sum() / self.batch_size).item() / self.max_grad_norm
        # Between sigma (high loss) and sigma * (1 + span) (no loss).
        self.current = self.noise_multiplier * (1 + self.span / (1 + level))
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.current * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.current
