"""Clipping around an average of released gradients, at a fixed bound.

Source: the sound part of mechanism 5 of the public benchmark ``optimization-dp-sgd``, whose moving threshold is private and
is left out here; centring as in Karimireddy et al. 2021, arXiv 2012.10333, section 4.

Analysis. The centre is an exponential average of released gradients, so it is post-processing. Each sample contributes
``clip(g - centre, C)``; a row that is added or removed moves the sum by at most C and the noise is ``sigma * C`` per
coordinate: the noise multiplier is ``sigma`` under add_remove with sampled rows. Under zero_out an absent row would
contribute ``clip(-centre)``, so there it moves the sum by up to 2C. The centre is added back after the noise.
"""

import torch


class DPMechanism:
    decay = 0.9

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.centre = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        if self.centre is None:
            self.centre = [
                torch.zeros(grad.shape[1:], dtype=grad.dtype, device=grad.device) for grad in per_sample_grads
            ]
        residuals = [grad - centre for grad, centre in zip(per_sample_grads, self.centre, strict=True)]
        squares = [residual.flatten(1).square().sum(1) for residual in residuals]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.noise_multiplier * self.max_grad_norm
        released = []
        for residual, centre in zip(residuals, self.centre, strict=True):
            total = torch.tensordot(weights, residual, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size + centre)
        self.centre = [
            self.decay * old + (1 - self.decay) * new for old, new in zip(self.centre, released, strict=True)
        ]
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
