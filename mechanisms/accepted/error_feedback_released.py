"""Error feedback on RELEASED updates: what a compressed update leaves out is added to the next one.

Source: the sound counterpart of DiceSGD (Zhang et al. 2023, arXiv 2311.14632): the memory holds released values only.
Error feedback as in Seide et al. 2014 and Karimireddy et al. 2019, arXiv 1901.09847.

Analysis. A flat clip to C with noise ``sigma * C`` on the sum gives the noisy mean; its noise multiplier is ``sigma``. All
that follows is post-processing of noisy means: the update is a fixed share of the noisy mean plus the memory, and the memory
keeps the rest. No raw gradient is kept, so the memory costs nothing.
"""

import torch


class DPMechanism:
    share = 0.8

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.errors = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.max_grad_norm
        noisy = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            noisy.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        if self.errors is None:
            self.errors = [torch.zeros_like(mean) for mean in noisy]
        wanted = [mean + error for mean, error in zip(noisy, self.errors, strict=True)]
        released = [self.share * update for update in wanted]
        self.errors = [update - part for update, part in zip(wanted, released, strict=True)]
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
