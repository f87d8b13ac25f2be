"""Noise that is correlated from step to step (banded matrix factorisation), with its own accounting as a claim.

Source: correlated noise as in Kairouz et al. 2021, arXiv 2103.00039, and Choquette-Choo et al. 2023, arXiv 2306.08153; the two
bands here are chosen for the example, not optimised.

Analysis. With L the lower-triangular matrix with 1 on the diagonal and -0.5 below it, the releases are G + sigma C L Z, G being
the clipped sums of all steps. A row that takes part in the steps u moves L^{-1} G by L^{-1} u, so the run is one Gaussian with
multiplier sigma / |L^{-1} u|. L^{-1} has 0.5^k on its k-th diagonal: one participation costs a factor of up to 1.155, and more
participations more. No sigma of a single step says this, so ``privacy_events`` states it; ``get_effective_sigma`` reports what
one step would be worth by itself. No accountant of this suite bounds correlated noise together with random batches: the claim
is checked, and nothing is accepted.
"""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.last = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        std = self.noise_multiplier * self.max_grad_norm
        sums = [torch.tensordot(weights, grad, dims=1) for grad in per_sample_grads]
        fresh = [torch.randn_like(total) for total in sums]
        last = self.last if self.last is not None else [torch.zeros_like(noise) for noise in fresh]
        self.last = fresh
        return [
            (total + std * (noise - 0.5 * old)) / self.batch_size
            for total, noise, old in zip(sums, fresh, last, strict=True)
        ]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier

    def privacy_events(self):
        return [{"kind": "correlated_gaussian", "noise_multiplier": self.noise_multiplier, "bands": [1.0, -0.5]}]
