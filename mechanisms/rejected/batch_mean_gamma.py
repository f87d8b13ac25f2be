"""AUTO-S whose stabiliser gamma is a tenth of the batch's mean norm.

Source: submissions to the public benchmark ``optimization-dp-sgd`` (item 8).

Why it is rejected. Every sample's weight ``1 / (norm + gamma)`` depends on the norms of all the others through gamma: one
row with a huge gradient shrinks everybody else's contribution, so a row moves the sum by far more than 1.
"""

import torch


class DPMechanism:
    share = 0.1

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        gamma = self.share * norms.sum() / self.batch_size + 1e-6
        weights = 1.0 / (norms + gamma)
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + self.noise_multiplier * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
