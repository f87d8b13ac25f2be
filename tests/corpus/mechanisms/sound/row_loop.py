"""A plain loop over rows and tensors, with an accumulator that is changed in place."""

import torch


class DPMechanism:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size

    def clip_and_noise(self, per_sample_grads, step, epoch):
        totals = [torch.zeros(grad.shape[1:]) for grad in per_sample_grads]
        for row in range(len(per_sample_grads[0])):
            square = torch.tensor(0.0)
            for grad in per_sample_grads:
                square += grad[row].pow(2).sum()
            weight = min(1.0, self.max_grad_norm / (square.sqrt() + 1e-9))
            for total, grad in zip(totals, per_sample_grads, strict=True):
                total += weight * grad[row]
        std = self.noise_multiplier * self.max_grad_norm
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in totals]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier
