"""Mechanisms that withhold, zero or repeat releases: by a look at private data (``...Broken``), or for reasons that are free."""

import torch


class Base:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.noise_multiplier = noise_multiplier
        self.batch_size = batch_size
        self.last = None

    def clipped(self, grads):
        norms = torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        return norms, [torch.tensordot(weights, grad, dims=1) for grad in grads]

    def noisy(self, sums):
        std = self.noise_multiplier * self.max_grad_norm
        return [(total + std * torch.randn_like(total)) / self.batch_size for total in sums]

    def get_effective_sigma(self, step, epoch):
        return self.noise_multiplier


class WithheldOnLargeNormsBroken(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        norms, sums = self.clipped(per_sample_grads)
        if (norms > 5).any():
            return [torch.zeros_like(total) for total in sums]
        return self.noisy(sums)


class OneTensorWithheldBroken(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        released = self.noisy(sums)
        if float(sums[1].abs().sum()) > 0:
            released[1] = torch.full_like(released[1], 0.25)
        return released


class KeptWhereItPointsAlongBroken(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        released = self.noisy(sums)
        along = sum((update * total).sum() for update, total in zip(released, sums, strict=True))
        return [(along > 0) * update for update in released]


class RepeatedFromTheSecondStepBroken(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        start = [torch.ones_like(total) for total in sums]
        if step > 0 and sum(float(total.norm()) for total in sums) > 0:
            return start
        return self.noisy(sums)


class WithheldByACoinThatDataMovesBroken(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        norms, sums = self.clipped(per_sample_grads)
        share = 0.6 * float((norms > 0.5).any())
        if float(torch.rand(())) < share:
            return [torch.zeros_like(total) for total in sums]
        return self.noisy(sums)


class WithheldByReleasedValues(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        released = self.noisy(sums)
        keep = (sum(update.sum() for update in released) > 0).float()
        return [keep * update for update in released]


class WithheldByAFairCoin(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        if float(torch.rand(())) < 0.5:
            return [torch.zeros_like(total) for total in sums]
        return self.noisy(sums)


class Signs(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        return [update.sign() for update in self.noisy(sums)]


class OneSignOfATensor(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        return [torch.full_like(update, float(update.sum().sign())) for update in self.noisy(sums)]


class EverySecondStep(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        if step % 2:
            return [torch.zeros_like(total) for total in sums]
        return self.noisy(sums)


class FrozenTensor(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        released = self.noisy(sums)
        released[0] = torch.zeros_like(released[0])
        return released


class SeedInTheCode(Base):
    def clip_and_noise(self, per_sample_grads, step, epoch):
        _, sums = self.clipped(per_sample_grads)
        torch.manual_seed(20_000 + step)
        return self.noisy(sums)
