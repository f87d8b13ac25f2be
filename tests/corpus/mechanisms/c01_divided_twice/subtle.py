"""Class 1: one layer's noise is divided by the batch size twice, written with an accumulator."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        norms = torch.zeros(per_sample_grads[0].shape[0])
        for grad in per_sample_grads:
            norms = norms + grad.reshape(grad.shape[0], -1).pow(2).sum(dim=1)
        factor = torch.minimum(torch.ones_like(norms), self.max_grad_norm / (norms.sqrt() + 1e-9))
        released = []
        for index, grad in enumerate(per_sample_grads):
            mean = torch.einsum("b,b...->...", factor, grad) / self.batch_size
            scale = self.batch_size if index + 1 < len(per_sample_grads) else self.batch_size**2  # the fault
            released.append(mean + torch.randn_like(mean) * self.noise_multiplier * self.max_grad_norm / scale)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
