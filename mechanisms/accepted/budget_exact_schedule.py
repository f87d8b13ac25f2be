"""Flat clipping with noise that falls in four stages and costs exactly what the constant noise would.

Source: falling noise as in Du et al. 2021 (arXiv 2111.00173); the calibration through the privacy loss distribution of the whole
schedule is derived here. Schedules that keep the mean of ``1 / sigma^2`` instead overspend
(``rejected/cosine_released_averaging.py``).

Analysis. Step t has noise ``sigma_t * C`` per coordinate of a sum that a row moves by at most C, and ``sigma_t`` is what is
reported. ``sigma_t = s * r_t`` with public factors ``r_t`` from ``ratio`` to 1 and one number s. With epsilon* the cost of
the constant ``sigma`` over all steps at ``target_delta``, s is the least at which the schedule's delta at epsilon* is
``target_delta`` or less, times a margin for rounding. Both are read from the distribution of the privacy loss of a
Poisson-sampled Gaussian step with a row removed (sampling probability batch size over data set size, discretised to the
nearest of 2^16 losses and composed by Fourier transforms): a calibration, not a proof. The proof is an audit's accounting of
the reported schedule.
"""

import math

import numpy as np
import torch
from scipy.special import ndtr

STAGES = 4
HALF = 2**15
MARGIN = 1.00005


class DPMechanism:
    ratio = 1.4

    def __init__(
        self, max_grad_norm, noise_multiplier, n_params, dataset_size, batch_size, epochs, target_epsilon, target_delta
    ):
        self.max_grad_norm = max_grad_norm
        self.batch_size = batch_size
        self.steps = epochs * (dataset_size // batch_size)
        factors = tuple(self.ratio ** (1.0 - stage / (STAGES - 1)) for stage in range(STAGES))
        lengths = tuple((stage + 1) * self.steps // STAGES - stage * self.steps // STAGES for stage in range(STAGES))
        scale = calibrated(factors, lengths, noise_multiplier, batch_size / dataset_size, target_delta)
        stages = [scale * factor for factor in factors]
        self.sigmas = [sigma for sigma, length in zip(stages, lengths, strict=True) for _ in range(length)]

    def clip_and_noise(self, per_sample_grads, step, epoch):
        squares = [grad.flatten(1).square().sum(1) for grad in per_sample_grads]
        norms = torch.stack(squares).sum(0).sqrt()
        weights = (self.max_grad_norm / norms.clamp(min=1e-12)).clamp(max=1.0)
        noise_std = self.get_effective_sigma(step, epoch) * self.max_grad_norm
        released = []
        for grad in per_sample_grads:
            total = torch.tensordot(weights, grad, dims=1)
            released.append((total + noise_std * torch.randn_like(total)) / self.batch_size)
        return released

    def get_effective_sigma(self, step, epoch):
        return self.sigmas[step]


def calibrated(factors, lengths, sigma, sampling_probability, delta):
    reach = 8.0
    while True:  # until the losses that matter lie well inside the grid
        constant = delta_curve({sigma: sum(lengths)}, sampling_probability, reach)
        epsilon = epsilon_of(constant, delta)
        if epsilon < reach / 2:
            break
        reach *= 2

    def excess(scale):  # logarithm, nearly linear in the logarithm of the scale
        events = {scale * factor: length for factor, length in zip(factors, lengths, strict=True)}
        return math.log(max(delta_curve(events, sampling_probability, reach)(epsilon), 1e-300) / delta)

    middle = sigma / math.sqrt(max(factors) * min(factors))
    points = [(math.log(0.95 * middle), excess(0.95 * middle)), (math.log(1.05 * middle), excess(1.05 * middle))]
    for _ in range(4):  # secants, until two points are as close as rounding lets them be told apart
        (before, there), (last, here) = points[-2:]
        if abs(here - there) < 1e-6:
            break
        place = last - here * (last - before) / (here - there)
        points.append((place, excess(math.exp(place))))
    return math.exp(points[-1][0]) * MARGIN


def delta_curve(events, sampling_probability, reach):
    width = reach / HALF
    losses = width * np.arange(-HALF, HALF)
    edges = width * (np.arange(-HALF, HALF + 1) - 0.5)
    spectrum, kept = 1.0, 1.0
    for sigma, count in events.items():
        masses = np.diff(loss_cdf(edges, sigma, sampling_probability))
        masses[0] += loss_cdf(edges[:1], sigma, sampling_probability)[0]
        kept *= masses.sum() ** count
        spectrum = spectrum * np.fft.rfft(np.fft.ifftshift(masses)) ** count
    composed = np.fft.fftshift(np.fft.irfft(spectrum, 2 * HALF))

    def delta(epsilon):
        above = losses > epsilon
        return 1.0 - kept + float(np.sum(composed[above] * -np.expm1(epsilon - losses[above])))

    return delta


def loss_cdf(losses, sigma, q):
    odds = (np.expm1(losses) + q) / q  # of the removed row at the place with this loss
    places = np.full_like(losses, -np.inf)
    known = odds > 0
    places[known] = sigma**2 * np.log(odds[known]) + 0.5
    return (1 - q) * ndtr(places / sigma) + q * ndtr((places - 1.0) / sigma)


def epsilon_of(delta_at, delta):
    low, high = 0.0, 2048.0
    for _ in range(50):
        middle = (low + high) / 2
        if delta_at(middle) > delta:
            low = middle
        else:
            high = middle
    return high
