"""Noise that is held in half precision before it is added, in several idioms, and honest code that only looks like it."""

import torch


class _Flat:
    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.bound, self.sigma, self.batch_size = max_grad_norm, noise_multiplier, batch_size
        self.std = noise_multiplier * max_grad_norm

    def sums(self, grads):
        norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
        weights = (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)
        return [torch.tensordot(weights, g, dims=1) for g in grads]

    def clip_and_noise(self, grads, step, epoch):
        return [self.release(total) / self.batch_size for total in self.sums(grads)]

    def get_effective_sigma(self, step, epoch):
        return self.sigma


class DrawnInBfloat16Broken(_Flat):
    def release(self, total):
        return total + self.std * torch.randn(total.shape, dtype=torch.bfloat16).to(total.dtype)


class DrawnInPlaceInFloat16Broken(_Flat):
    def release(self, total):
        return total + self.std * torch.empty(total.shape, dtype=torch.float16).normal_().to(total.dtype)


class DrawnAtItsScaleBroken(_Flat):
    def release(self, total):
        return total + torch.normal(0.0, self.std, total.shape, dtype=torch.bfloat16).to(total.dtype)


class LikeAHalfSumBroken(_Flat):
    def release(self, total):
        return torch.add(total, torch.randn_like(total.to(torch.bfloat16)).to(total.dtype), alpha=self.std)


class ScaledInHalfBroken(_Flat):
    def release(self, total):
        return total + (self.std * torch.randn(total.shape, dtype=torch.bfloat16)).to(total.dtype)


class RoundedAfterTheDrawBroken(_Flat):
    def release(self, total):
        return total + self.std * torch.randn_like(total).to(torch.bfloat16).to(total.dtype)


class RoundedAfterTheScaleBroken(_Flat):
    def release(self, total):
        return total + (self.std * torch.randn_like(total)).to(torch.float16).to(total.dtype)


class OneDrawForAllTensorsBroken(_Flat):
    def clip_and_noise(self, grads, step, epoch):
        sums = self.sums(grads)
        sizes = [total.numel() for total in sums]
        noise = torch.randn(sum(sizes), dtype=torch.bfloat16).to(sums[0].dtype).split(sizes)
        return [
            total / self.batch_size + (self.std / self.batch_size) * part.view(total.shape)
            for total, part in zip(sums, noise, strict=True)
        ]


class FullPrecision(_Flat):
    def release(self, total):
        return total + self.std * torch.randn_like(total)


class ReleaseRounded(_Flat):
    def release(self, total):
        return (total + self.std * torch.randn_like(total)).to(torch.bfloat16).to(total.dtype)


class SumRoundedBeforeFullNoise(_Flat):
    def release(self, total):
        return total.to(torch.float16).to(total.dtype) + self.std * torch.randn_like(total)


class ReleaseOnAGrid(_Flat):
    def release(self, total):
        return ((total + self.std * torch.randn_like(total)) * 64).round() / 64


class HalfNoiseBesideFullNoise(_Flat):
    def release(self, total):
        more = torch.randn(total.shape, dtype=torch.bfloat16).to(total.dtype)
        return total + self.std * torch.randn_like(total) + 0.1 * self.std * more


class RoundedToHalfPowersOfTwo(_Flat):
    """On rows of zeros noise and its rounding release the same; with a row they do not."""

    def release(self, total):
        return (total + torch.randn_like(total)).to(torch.bfloat16).to(total.dtype)


class SumOfFourHalfDraws(_Flat):
    def release(self, total):
        draws = [torch.randn(total.shape, dtype=torch.bfloat16).to(total.dtype) for _ in range(4)]
        return total + self.std * sum(draws) / 2
