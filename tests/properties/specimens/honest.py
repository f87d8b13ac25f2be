"""Sound mechanisms in varied idioms: none of them may get a finding. Each class stands for itself."""

import math
import random

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class _Base:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.bound = max_grad_norm
        self.sigma = noise_multiplier
        self.batch_size = batch_size
        self.steps = epochs * (dataset_size // batch_size)
        self.prepare()

    def prepare(self):
        pass

    def get_effective_sigma(self, step, epoch):
        return self.sigma


def joint_norms(grads):
    return torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()


def noisy_mean(grads, weights, std, batch_size):
    sums = [torch.tensordot(weights, g, dims=1) for g in grads]
    return [(s + std * torch.randn_like(s)) / batch_size for s in sums]


class FlatClip(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        return noisy_mean(grads, weights, self.sigma * self.bound, self.batch_size)


class AutoS(_Base):
    def clip_and_noise(self, grads, step, epoch):
        return noisy_mean(grads, 1 / (joint_norms(grads) + 0.01), self.sigma, self.batch_size)


class Psac(_Base):
    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads)
        weights = self.bound / (norms + 0.1 / (norms + 0.1))
        return noisy_mean(grads, weights, self.sigma * self.bound, self.batch_size)


class LoopOverRows(_Base):
    def clip_and_noise(self, grads, step, epoch):
        rows = grads[0].shape[0]
        out = [torch.zeros_like(g[0]) if rows else torch.zeros(g.shape[1:]) for g in grads]
        for i in range(rows):
            norm = math.sqrt(sum(float(g[i].pow(2).sum()) for g in grads))
            factor = min(1.0, self.bound / norm) if norm > 0 else 1.0
            out = [o + factor * g[i] for o, g in zip(out, grads, strict=True)]
        return [(o + torch.normal(0.0, self.sigma * self.bound, o.shape)) / self.batch_size for o in out]


class WhereClip(_Base):
    def clip_and_noise(self, grads, step, epoch):
        norms = joint_norms(grads)
        weights = torch.where(norms > self.bound, self.bound / norms, torch.ones_like(norms))
        return noisy_mean(grads, weights, self.sigma * self.bound, self.batch_size)


class Einsum(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / (joint_norms(grads) + 1e-6)).clamp(max=1.0)
        sums = [torch.einsum("i,i...->...", weights, g) for g in grads]
        return [(s + self.bound * self.sigma * torch.randn(s.shape)) / self.batch_size for s in sums]


class FlattenedMatrix(_Base):
    def clip_and_noise(self, grads, step, epoch):
        flat = torch.cat([g.flatten(1) for g in grads], dim=1)
        flat = flat * (self.bound / flat.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1.0)
        total = flat.sum(0)
        noisy = (total + self.sigma * self.bound * torch.randn_like(total)) / self.batch_size
        pieces = noisy.split([g[0].numel() if len(g) else math.prod(g.shape[1:]) for g in grads])
        return [p.reshape(g.shape[1:]) for p, g in zip(pieces, grads, strict=True)]


class Renorm(_Base):
    def clip_and_noise(self, grads, step, epoch):
        flat = torch.cat([g.flatten(1) for g in grads], dim=1)
        total = torch.renorm(flat, 2, 0, self.bound).sum(0) if len(flat) else flat.sum(0)
        noisy = torch.normal(total, self.sigma * self.bound) / self.batch_size
        sizes = [math.prod(g.shape[1:]) for g in grads]
        return [p.reshape(g.shape[1:]) for p, g in zip(noisy.split(sizes), grads, strict=True)]


class Normalise(_Base):
    def clip_and_noise(self, grads, step, epoch):
        flat = torch.cat([g.flatten(1) for g in grads], dim=1)
        total = (F.normalize(flat, dim=1) * self.bound).sum(0)
        noise = torch.empty_like(total).normal_(0.0, self.sigma * self.bound)
        sizes = [math.prod(g.shape[1:]) for g in grads]
        return [
            p.reshape(g.shape[1:]) for p, g in zip(((total + noise) / self.batch_size).split(sizes), grads, strict=True)
        ]


class PerLayerSplit(_Base):
    def clip_and_noise(self, grads, step, epoch):
        bound = self.bound / math.sqrt(len(grads))
        out = []
        for g in grads:
            weights = (bound / g.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, g, dims=1)
            out.append((total + self.sigma * self.bound * torch.randn_like(total)) / self.batch_size)
        return out


class PerLayerScaledNoise(_Base):
    def clip_and_noise(self, grads, step, epoch):
        std = self.sigma * self.bound * math.sqrt(len(grads))
        out = []
        for g in grads:
            weights = (self.bound / g.flatten(1).norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
            total = torch.tensordot(weights, g, dims=1)
            out.append((total + std * torch.randn_like(total)) / self.batch_size)
        return out


class NumpyNoise(_Base):
    def prepare(self):
        self.generator = np.random.default_rng()

    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in grads:
            total = torch.tensordot(weights, g, dims=1)
            noise = self.generator.normal(0.0, self.sigma * self.bound, size=tuple(total.shape))
            out.append((total + torch.from_numpy(np.asarray(noise)).to(total.dtype)) / self.batch_size)
        return out


class PythonNoise(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in grads:
            total = torch.tensordot(weights, g, dims=1)
            noise = torch.tensor([random.gauss(0.0, 1.0) for _ in range(total.numel())], dtype=total.dtype)
            out.append((total + self.sigma * self.bound * noise.reshape(total.shape)) / self.batch_size)
        return out


class Distribution(_Base):
    def clip_and_noise(self, grads, step, epoch):
        weights = torch.minimum(torch.ones(()), self.bound / (joint_norms(grads) + 1e-12))
        noise = torch.distributions.Normal(0.0, self.sigma * self.bound)
        return [(torch.tensordot(weights, g, dims=1) + noise.sample(g.shape[1:])) / self.batch_size for g in grads]


class ReleasedMomentum(_Base):
    def prepare(self):
        self.velocity = None

    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        noisy = noisy_mean(grads, weights, self.sigma * self.bound, self.batch_size)
        if self.velocity is None:
            self.velocity = [torch.zeros_like(n) for n in noisy]
        self.velocity = [0.9 * v + 0.1 * n for v, n in zip(self.velocity, noisy, strict=True)]
        return [v.clone() for v in self.velocity]


class PublicDecay(_Base):
    def clip_and_noise(self, grads, step, epoch):
        bound = self.bound * 0.9 ** (epoch - 1)
        weights = (bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        return noisy_mean(grads, weights, self.sigma * bound, self.batch_size)


class OwnCounterSchedule(_Base):
    def prepare(self):
        self.calls = 0

    def _factor(self, step):
        return 1.5 - step / (2 * self.steps)

    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        std = self.sigma * self._factor(self.calls) * self.bound
        self.calls += 1
        return noisy_mean(grads, weights, std, self.batch_size)

    def get_effective_sigma(self, step, epoch):
        return self.sigma * self._factor(step)


class CentredOnReleases(_Base):
    """Under add_remove the centre costs nothing: an absent row contributes nothing."""

    def prepare(self):
        self.centre = None

    def clip_and_noise(self, grads, step, epoch):
        if self.centre is None:
            self.centre = [torch.zeros(g.shape[1:], dtype=g.dtype) for g in grads]
        residuals = [g - c for g, c in zip(grads, self.centre, strict=True)]
        weights = (self.bound / joint_norms(residuals).clamp(min=1e-12)).clamp(max=1.0)
        noisy = noisy_mean(residuals, weights, self.sigma * self.bound, self.batch_size)
        out = [n + c for n, c in zip(noisy, self.centre, strict=True)]
        self.centre = [0.9 * c + 0.1 * o for c, o in zip(self.centre, out, strict=True)]
        return out


class ElementClamp(_Base):
    def clip_and_noise(self, grads, step, epoch):
        total = sum(math.prod(g.shape[1:]) for g in grads)
        limit = self.bound / math.sqrt(total)
        sums = [g.clamp(-limit, limit).sum(0) for g in grads]
        return [(s + self.sigma * self.bound * torch.randn_like(s)) / self.batch_size for s in sums]


class InPlaceOnCopies(_Base):
    def clip_and_noise(self, grads, step, epoch):
        copies = [g.clone() for g in grads]
        weights = (self.bound / joint_norms(copies).clamp(min=1e-12)).clamp(max=1.0)
        out = []
        for g in copies:
            g.mul_(weights.view(-1, *[1] * (g.dim() - 1)))
            total = g.sum(0)
            total.add_(torch.randn_like(total), alpha=self.sigma * self.bound).div_(self.batch_size)
            out.append(total)
        return out


class Guarded(_Base):
    """Rows with a NaN or an Inf become zero; norms are taken in float32, of rows that were scaled down first."""

    def clip_and_noise(self, grads, step, epoch):
        finite = torch.stack([torch.isfinite(g).flatten(1).all(1) for g in grads]).all(0)
        clean = [
            torch.where(finite.view(-1, *[1] * (g.dim() - 1)), g, torch.zeros_like(g)).to(torch.float32) for g in grads
        ]
        weights = (self.bound / joint_norms(clean).clamp(min=1e-12)).clamp(max=1.0)
        return [o.to(g.dtype) for o, g in zip(self._noisy(clean, weights), grads, strict=True)]

    def _noisy(self, clean, weights):
        return noisy_mean(clean, weights, self.sigma * self.bound, self.batch_size)


class ModuleStyle(nn.Module):
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        super().__init__()
        self.register_buffer("std", torch.tensor(noise_multiplier * max_grad_norm))
        self.bound, self.sigma, self.batch_size = max_grad_norm, noise_multiplier, batch_size

    @torch.no_grad()
    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        return noisy_mean(grads, weights, self.std.item(), self.batch_size)

    def get_effective_sigma(self, step, epoch):
        return float(self.std) / self.bound


class TurnsLater(_Base):
    """From the second step on the release is shortened along the one before: its noise then has another form each step."""

    def prepare(self):
        self.before = None

    def clip_and_noise(self, grads, step, epoch):
        weights = (self.bound / joint_norms(grads).clamp(min=1e-12)).clamp(max=1.0)
        released = noisy_mean(grads, weights, self.sigma * self.bound, self.batch_size)
        before, self.before = self.before, released
        if before is None:
            return released
        units = [b / b.norm().clamp(min=1e-12) for b in before]
        return [r - 0.75 * (r * u).sum() * u for r, u in zip(released, units, strict=True)]
