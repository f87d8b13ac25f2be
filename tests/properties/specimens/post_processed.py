"""Releases that are post-processed otherwise than linearly: sound ones, and ``...Broken`` ones with one fault each."""

import torch


class _Base:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.bound = max_grad_norm
        self.sigma = noise_multiplier
        self.batch_size = batch_size
        self.kept = None

    def sums(self, grads):
        norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        return [torch.tensordot(weights, g, dims=1) for g in grads]

    def noisy(self, grads):
        return [(s + self.noise(s)) / self.batch_size for s in self.sums(grads)]

    def noise(self, total):
        return self.sigma * self.bound * torch.randn_like(total)

    def get_effective_sigma(self, step, epoch):
        return self.sigma


class Signs(_Base):
    def clip_and_noise(self, grads, step, epoch):
        return [x.sign() for x in self.noisy(grads)]


class UpperHalf(_Base):
    def clip_and_noise(self, grads, step, epoch):
        return [torch.where(x.abs() >= x.abs().median(), x, torch.zeros_like(x)) for x in self.noisy(grads)]


class ClampedRelease(_Base):
    def clip_and_noise(self, grads, step, epoch):
        return [x.clamp(-0.05, 0.05) for x in self.noisy(grads)]


class UnitNorm(_Base):
    def clip_and_noise(self, grads, step, epoch):
        released = self.noisy(grads)
        norm = torch.stack([x.square().sum() for x in released]).sum().sqrt()
        return [x / norm for x in released]


class AdaptiveSteps(_Base):
    def clip_and_noise(self, grads, step, epoch):
        released = self.noisy(grads)
        old = self.kept or [torch.zeros_like(x) for x in released]
        self.kept = [0.99 * v + 0.01 * x**2 for v, x in zip(old, released, strict=True)]
        return [x / (v.sqrt() + 0.1) for x, v in zip(released, self.kept, strict=True)]


class HalfPrecisionRelease(_Base):
    def clip_and_noise(self, grads, step, epoch):
        return [x.to(torch.bfloat16).to(x.dtype) for x in self.noisy(grads)]


class SignsOneBareBroken(_Base):
    """The first coordinate gets no noise."""

    def noise(self, total):
        noise = super().noise(total)
        noise.view(-1)[0] = 0.0
        return noise

    def clip_and_noise(self, grads, step, epoch):
        return [x.sign() for x in self.noisy(grads)]


class ClampedLittleNoiseBroken(_Base):
    """A clamp of the release is free; half of the reported noise is not."""

    def noise(self, total):
        return 0.5 * super().noise(total)

    def clip_and_noise(self, grads, step, epoch):
        return [x.clamp(-0.05, 0.05) for x in self.noisy(grads)]


class ClampedNoiseBroken(_Base):
    """The noise is bounded BEFORE it is added, and the release is rounded."""

    def noise(self, total):
        return super().noise(total).clamp(-1.5, 1.5)

    def clip_and_noise(self, grads, step, epoch):
        return [(1024 * x).round() / 1024 for x in self.noisy(grads)]


class UnitNormScaleFromDataBroken(_Base):
    """The noise follows the batch, and the update is normalised."""

    def clip_and_noise(self, grads, step, epoch):
        sums = self.sums(grads)
        scale = 1 + torch.stack([s.square().sum() for s in sums]).sum().sqrt() / self.batch_size
        released = [s + scale * self.noise(s) for s in sums]
        norm = torch.stack([x.square().sum() for x in released]).sum().sqrt()
        return [x / norm for x in released]


class UpperHalfBesideBroken(_Base):
    """What is released is computed from noisy values and, beside them, from the sums themselves."""

    def clip_and_noise(self, grads, step, epoch):
        pairs = zip(self.noisy(grads), self.sums(grads), strict=True)
        return [torch.where(s.abs() >= s.abs().median(), x, torch.zeros_like(x)) for x, s in pairs]
