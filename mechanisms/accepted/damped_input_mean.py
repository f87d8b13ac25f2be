"""Flat clipping in coordinates in which the common direction of a layer's inputs counts less.

Source: derived here. Related: centring of inputs in non-private training (LeCun et al. 1998, "Efficient BackProp"), private
preconditioning, and the way in which Andrew et al. 2021 (arXiv 1905.03871) charge a second sum.

Idea. The gradient of a sample for a weight matrix is made of its layer's inputs, one row an output. Inputs behind a ReLU are
not centred, and much of such a gradient lies along ONE direction that all samples share, where a bias would do: on the
benchmark's MNIST network about 80 % of the squared norm in the linear layers and 60 % in the second convolution. Flat clipping
spends its bound on that direction, and noise along it is multiplied by the largest part of every input. With u the direction and
``A = 1 - (1 - kept) u u^T``, samples contribute ``clip(g A)``, and the noisy sum is multiplied by A once more: a gradient
step in the coordinates ``W A^-1``.

Analysis. A step makes two sums of one batch. (1) The gradients, times A from the right, clipped to C by their joint norm, with
noise ``z_g * C``. A depends on earlier releases alone, so a row moves this sum by at most C; the second multiplication by A is
post-processing. (2) For each of L weight tensors the sample's own vector ``v = g^T (g u)``, scaled to length 1 at most, over
``sqrt(L)``: together a row moves these sums by at most 1; noise s. Both are one Gaussian release with multiplier
``(z_g^-2 + s^-2)^(-1/2)``, and ``z_g`` is chosen so that this is ``sigma``. u is the direction of an average of
(2) over steps: a private power iteration. ``s`` is ``batch_size / 40``, which costs 0.5 % of noise at the benchmark's MNIST
settings, but at least ``2 sigma``.
"""

import torch


class DPMechanism:
    kept = 0.25
    memory = 0.98

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.direction_std = max(batch_size / 40, 2 * noise_multiplier)
        self.gradient_multiplier = (noise_multiplier**-2 - self.direction_std**-2) ** -0.5
        self.directions = None

    def clip_and_noise(self, per_sample_grads, step, epoch):
        layers = [index for index, grad in enumerate(per_sample_grads) if grad.dim() > 2]
        units = {} if self.directions is None else {index: unit(self.directions[index]) for index in layers}
        votes = {index: self.vote(per_sample_grads[index], units.get(index)) / len(layers) ** 0.5 for index in layers}
        damped = [self.damp(grad, units.get(index)) for index, grad in enumerate(per_sample_grads)]
        norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in damped]).norm(dim=0)
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.gradient_multiplier * self.max_grad_norm
        released = []
        for index, grad in enumerate(damped):
            total = torch.tensordot(weights, grad, dims=1)
            update = (total + noise_std * torch.randn_like(total)) / self.batch_size
            released.append(self.damp(update, units.get(index)))
        noisy = {index: total + self.direction_std * torch.randn_like(total) for index, total in votes.items()}
        if self.directions is None:
            self.directions = {index: self.direction_std * torch.ones_like(total) for index, total in noisy.items()}
        self.directions = {
            index: self.memory * self.directions[index] + (1 - self.memory) * total for index, total in noisy.items()
        }
        return released

    def vote(self, grads, direction):  # the sum over rows of g^T (g u), each of length 1 at most
        along = grads.flatten(2).sum(2) if direction is None else torch.tensordot(grads, direction, direction.dim())
        along = along / along.norm(dim=1, keepdim=True).clamp(min=1e-12)
        vectors = torch.einsum("bo,bo...->b...", along, grads)
        lengths = vectors.flatten(1).norm(dim=1).clamp(min=1e-12)
        return torch.tensordot(1.0 / lengths, vectors, dims=1)

    def damp(self, values, direction):
        if direction is None:
            return values
        along = torch.tensordot(values, direction, direction.dim())
        along = along[(...,) + (None,) * direction.dim()]
        return torch.addcmul(values, along, direction, value=self.kept - 1)

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier


def unit(direction):
    return direction / direction.norm().clamp(min=1e-12)
