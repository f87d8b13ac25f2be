"""Unsound mechanisms, one fault each. The line that must be named carries a comment with the rule."""

import math

import torch


class _Base:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.bound = max_grad_norm
        self.sigma = noise_multiplier
        self.batch_size = batch_size
        self.prepare()

    def prepare(self):
        pass

    def get_effective_sigma(self, step, epoch):
        return self.sigma


def joint_norms(grads):
    return torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()


def factors(norms, bound):
    return (bound / norms.clamp(min=1e-12)).clamp(max=1.0)


def weighted(weights, g):
    return torch.tensordot(weights, g, dims=1)


class GroupsForOneBound(_Base):
    """Every tensor clipped to C, noise for ONE bound: sensitivity sqrt(groups) larger."""

    def clip_and_noise(self, grads, step, epoch):
        sums = [weighted(factors(g.flatten(1).norm(dim=1), self.bound), g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class FallingLayerNoise(_Base):
    """Noise multiplier divided by the layer's number."""

    def clip_and_noise(self, grads, step, epoch):
        out = []
        for index, g in enumerate(grads):
            total = weighted(factors(g.flatten(1).norm(dim=1), self.bound), g)
            noise = torch.randn_like(total) * (self.sigma / (index + 1)) * self.bound
            out.append((total + noise) / self.batch_size)
        return out


class DividedTwice(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        means = [weighted(weights, g) / self.batch_size for g in grads]
        return [m + self.sigma * self.bound / self.batch_size**2 * torch.randn_like(m) for m in means]


class NotClipped(_Base):
    def clip_and_noise(self, grads, step, epoch):
        sums = [g.sum(0) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class FirstTensorsNorm(_Base):
    """The norm of one tensor decides for all."""

    def clip_and_noise(self, grads, step, epoch):
        weights = factors(grads[0].flatten(1).norm(dim=1), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class LargestNorm(_Base):
    """The largest tensor's norm instead of the joint one."""

    def clip_and_noise(self, grads, step, epoch):
        weights = factors(torch.stack([g.flatten(1).norm(dim=1) for g in grads]).amax(0), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class SkipsHugeRows(_Base):
    """Norms beyond a million are taken for overflow and left alone."""

    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads)
        weights = torch.where(norms < 1e6, factors(norms, self.bound), torch.ones_like(norms))
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class PeakBetween(_Base):
    """A weight that clips well except around norms of 30 C, where no listed row looks."""

    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads)
        bump = 1 + 0.5 * torch.exp(-((torch.log(norms.clamp(min=1e-9) / (30 * self.bound)) / 0.6) ** 2))
        sums = [weighted(factors(norms, self.bound) * bump, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class ForgetsToClipLate(_Base):
    def prepare(self):
        self.calls = 0

    def clip_and_noise(self, grads, step, epoch):
        self.calls += 1
        bound = self.bound * (1.0 if self.calls < 50 else 1.3)
        weights = factors(joint_norms(grads), bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class RealisedDivisor(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / grads[0].shape[0] for s in sums]


class NoiseFromBatch(_Base):
    """The noise is scaled by the largest clipped norm of the batch."""

    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads)
        largest = norms.clamp(max=self.bound).max() if len(norms) else torch.tensor(self.bound)
        weights = factors(norms, self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * largest * torch.randn_like(s)) / self.batch_size for s in sums]


class LastTensorBare(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        noisy = [s + self.sigma * self.bound * torch.randn_like(s) for s in sums[:-1]] + sums[-1:]
        return [n / self.batch_size for n in noisy]


class OneDrawForAll(_Base):
    """One random number moves all coordinates of a tensor."""

    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn(())) / self.batch_size for s in sums]


class UniformNoise(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        width = math.sqrt(12) * self.sigma * self.bound
        return [(s + width * (torch.rand_like(s) - 0.5)) / self.batch_size for s in sums]


class ClampedNoise(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s).clamp(-3.0, 3.0)) / self.batch_size for s in sums]


class SeedInCode(_Base):
    def prepare(self):
        self.generator = torch.Generator().manual_seed(1234)

    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        noise = [torch.randn(s.shape, generator=self.generator) for s in sums]
        return [(s + self.sigma * self.bound * z) / self.batch_size for s, z in zip(sums, noise, strict=True)]


class WritesInput(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        for g in grads:
            g.mul_(weights.view(-1, *[1] * (g.dim() - 1)))
        sums = [g.sum(0) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class FirstRowTwice(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = 0.5 * factors(joint_norms(grads), self.bound)
        weights[:1] = 2 * weights[:1]
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class SwapsInside(_Base):
    """The first and the last quarter of the rows weigh double: the same in reverse order."""

    def clip_and_noise(self, grads, step, epoch):
        weights = 0.5 * factors(joint_norms(grads), self.bound)
        quarter = len(weights) // 4
        if quarter:
            weights[:quarter] *= 2
            weights[-quarter:] *= 2
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class SmoothedRows(_Base):
    """A constant is added to every gradient before the clip: a row of zeros contributes."""

    def clip_and_noise(self, grads, step, epoch):
        smoothed = [g + 0.01 for g in grads]
        weights = factors(joint_norms(smoothed), self.bound)
        sums = [weighted(weights, g) for g in smoothed]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class ReseedsEveryStep(_Base):
    def clip_and_noise(self, grads, step, epoch):
        torch.manual_seed(1)
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class TurnsAndReseeds(_Base):
    """The form of the noise changes from step to step, and the draws under it are the same every time."""

    def prepare(self):
        self.before = None

    def clip_and_noise(self, grads, step, epoch):
        torch.manual_seed(1)
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        released = [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]
        before, self.before = self.before, released
        if before is None:
            return released
        units = [b / b.norm().clamp(min=1e-12) for b in before]
        return [r - 0.75 * (r * u).sum() * u for r, u in zip(released, units, strict=True)]


class BatchMeanGamma(_Base):
    """Every weight depends on the norms of all rows: how far one row moves the sum depends on the others."""

    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads)
        weights = self.bound / (norms + 0.1 * norms.sum() / self.batch_size + 1e-6)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class CountsQuietRows(_Base):
    """Too large a contribution, the larger the more rows there are, whatever is in them."""

    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound) * (1 + 0.1 * len(grads[0]))
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class EmptyWithoutNoise(_Base):
    def clip_and_noise(self, grads, step, epoch):
        if not len(grads[0]):
            return [torch.zeros(g.shape[1:], dtype=g.dtype) for g in grads]
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class EmptyRaises(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        assert float(weights.max()) <= 1.0
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class GroupsThrownAway(_Base):
    """Groups are clipped, then overwritten: what is released is a flat clip of the original gradients."""

    def _clip_groups(self, grads):
        return [g * factors(g.flatten(1).norm(dim=1), self.bound).view(-1, *[1] * (g.dim() - 1)) for g in grads]

    def clip_and_noise(self, grads, step, epoch):
        clipped = self._clip_groups(grads)
        weights = factors(joint_norms(grads), self.bound)
        clipped = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in clipped]


class NoiseThrownAway(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = [weighted(weights, g) for g in grads]
        layered = [torch.randn_like(s) / (i + 1) for i, s in enumerate(sums)]  # overwritten below
        layered = [torch.randn_like(s) for s in sums]
        return [(s + self.sigma * self.bound * z) / self.batch_size for s, z in zip(sums, layered, strict=True)]


class PublishedStyle(_Base):
    """The clip of a widely used library: nothing stops a NaN, an Inf, or a norm that was saturated after overflow."""

    def clip_and_noise(self, grads, step, epoch):
        norms = torch.stack([g.flatten(1).norm(2, dim=-1) for g in grads], dim=1).norm(2, dim=1)
        weights = (self.bound / (torch.nan_to_num(norms) + 1e-6)).clamp(max=1.0)
        sums = [torch.einsum("i,i...", weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class ExponentialWeight(_Base):
    """Bounded on paper; in floating point a large finite norm gives infinity times zero."""

    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads) / self.bound
        weights = norms * torch.exp(-norms)
        sums = [weighted(weights, g) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class HalfAfterClip(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = factors(joint_norms(grads), self.bound)
        sums = []
        for g in grads:
            clipped = (g * weights.view(-1, *[1] * (g.dim() - 1))).to(torch.bfloat16)
            sums.append(clipped.to(torch.float32).sum(0))
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class Hangs(_Base):
    def clip_and_noise(self, grads, step, epoch):
        while True:
            pass
