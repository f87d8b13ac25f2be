"""The private mean and the private second moment of features, each released once before training, and what is made of them.

Both look at the whole training set. Each is one release by the Gaussian mechanism, counts into epsilon
(``RunConfig.preparation``), and all that is done to a row afterwards is a function of that row and of what was released.

A linear model learns slowly along directions in which its features hardly vary, while the directions in which they vary most
take up the norm that is clipped and that the noise is scaled for. :func:`whitened` therefore evens out the CHANNELS of the
scattering transform: their second moment is a small matrix (81 channels a colour), summed over all places of an image, so a
noise that costs little leaves its larger eigenvalues readable.

Source: a noisy second moment is released as in Dwork, Talwar, Thakurta and Zhang 2014 (Analyze Gauss, STOC), with less noise
off the diagonal, where a symmetric matrix counts twice; the rest is derived here.
"""

import dataclasses
import math

import torch
from torch import Tensor

from .datasets import Dataset
from .generators import stream_seed
from .scattering import CHANNELS
from .scattering_settings import ScatteringSettings

_BLOCK = 1_000
"""Rows converted to float32 at a time."""


def prepared(data: Dataset, settings: ScatteringSettings, *, seed: int) -> Dataset:
    """The features after the releases that ``settings.preparation`` lists, in that order, each with a generator of its own.

    ``seed`` is that of the run: the same in every process and after a resume.
    """
    if settings.centring is not None:
        data = centred(data, settings.centring, seed=stream_seed(seed, "preparation"))
    if settings.whitening is not None:
        data = whitened(data, settings, seed=stream_seed(seed, "preparation/second moment"))
    return data


def centred(data: Dataset, multiplier: float, *, seed: int) -> Dataset:
    """The features minus a private mean of the training rows.

    Guarantee: one Gaussian release of the training set with noise multiplier ``multiplier``, for add_remove and zero_out
    (a row moves the sum by at most its bound), and for replace_one at twice the reach; everything else is a function of
    one row and of what was released. The divisor is the public number of rows. Rows are clipped to the root of the number
    of features, in float32.
    Assumptions: the generator behind ``seed`` is an ideal source and the seed stays secret.
    """
    rows, width = data.train_images.shape
    bound = math.sqrt(width)
    total = torch.zeros(width, device=data.train_images.device)
    for start in range(0, rows, _BLOCK):
        block = data.train_images[start : start + _BLOCK].float()
        total += _clip_factors(block, bound) @ block
    noise = torch.randn(width, generator=torch.Generator().manual_seed(seed)).to(total.device)
    mean = (total + multiplier * bound * noise) / rows
    return dataclasses.replace(
        data, train_images=_minus(data.train_images, mean), test_images=_minus(data.test_images, mean)
    )


def whitened(data: Dataset, settings: ScatteringSettings, *, seed: int) -> Dataset:
    """The features with their channels mixed by a power of their private second moment.

    Guarantee: one Gaussian release of the training set with noise multiplier ``settings.whitening``, for add_remove and
    zero_out, and for replace_one at twice the reach; everything else is a function of one row and of what was released
    (:func:`second_moment` has the argument).
    Assumptions: as for :func:`centred`.

    Raises:
        ValueError: the settings ask for no second moment.
    """
    if settings.whitening is None:
        raise ValueError("whitening: expected a noise multiplier in the settings, got None")
    width = data.train_images.shape[1]
    moment = second_moment(
        data.train_images,
        channels=_channels(width),
        bound=settings.row_bound * math.sqrt(width),
        multiplier=settings.whitening,
        seed=seed,
    )
    mixing = whitening_matrix(moment, power=settings.whitening_power, floor=settings.whitening_floor)
    mixing = mixing.to(data.train_images.device)
    return dataclasses.replace(
        data, train_images=_mixed(data.train_images, mixing), test_images=_mixed(data.test_images, mixing)
    )


def second_moment(rows: Tensor, *, channels: int, bound: float, multiplier: float, seed: int) -> Tensor:
    """The private second moment of the channels, float64 ``[channels, channels]`` on the CPU.

    A row is a matrix V of ``channels`` by places and adds V Vᵀ, after V was clipped to the Frobenius norm ``bound`` in float32.
    The Frobenius norm of V Vᵀ is at most its trace, ``bound`` squared: that is the sensitivity of the sum for add_remove and
    zero_out. The noise is symmetric: independent, with standard deviation ``multiplier * bound**2`` on the diagonal and that
    over the root of 2 off it. In the coordinates of symmetric matrices that are orthonormal under the Frobenius norm (the
    diagonal, and the upper triangle times the root of 2) it is isotropic, hence the Gaussian mechanism with that multiplier.
    The divisor is the public number of rows.
    """
    total = torch.zeros((channels, channels), device=rows.device)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].float()
        clipped = _clip_factors(block, bound)[:, None] * block
        places = clipped.view(len(block), channels, -1).transpose(1, 2).reshape(-1, channels)
        total += places.T @ places
    noise = torch.randn((channels, channels), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    symmetric = (noise + noise.T) / 2
    return (total.cpu().double() + multiplier * bound**2 * symmetric) / len(rows)


def whitening_matrix(moment: Tensor, *, power: float, floor: float) -> Tensor:
    """``s (M⁺ + f I)^-power`` of a released second moment, float32 ``[channels, channels]``; post-processing.

    M⁺ has negative eigenvalues, which are noise, at zero; f is ``floor`` times the mean eigenvalue of M⁺, below which a direction
    is taken for noise and not amplified further; s leaves the trace of the moment, the mean squared length of a row, as it
    was. A moment without a positive eigenvalue, which is all noise, mixes nothing: the identity.
    """
    values, vectors = torch.linalg.eigh(moment.double())
    values = values.clamp(min=0)
    mean = values.mean()
    if not mean > 0:
        return torch.eye(len(moment))
    factors = (values / mean + floor) ** -power
    factors *= (values.sum() / (factors.square() * values).sum()).sqrt()
    matrix: Tensor = (vectors * factors) @ vectors.T
    return matrix.float()


def _clip_factors(rows: Tensor, bound: float) -> Tensor:
    factors: Tensor = (bound / rows.norm(dim=1).clamp(min=1e-12)).clamp(max=1.0)
    return factors


def _channels(width: int) -> int:
    """Channels of a row: 81 a colour, of a square number of places; one colour or three. At most one of them divides out."""
    for colours in (1, 3):
        places, rest = divmod(width, colours * CHANNELS)
        if rest == 0 and math.isqrt(places) ** 2 == places:
            return colours * CHANNELS
    raise ValueError(f"whitening: expected rows of 81 or 243 channels of a square map, got {width} features")


def _minus(features: Tensor, mean: Tensor) -> Tensor:
    result = torch.empty_like(features)
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        result[part] = (features[part].float() - mean).half()
    return result


def _mixed(features: Tensor, mixing: Tensor) -> Tensor:
    result = torch.empty_like(features)
    for start in range(0, len(features), _BLOCK):
        part = slice(start, start + _BLOCK)
        maps = features[part].float().view(-1, len(mixing), features.shape[1] // len(mixing))
        result[part] = (mixing @ maps).flatten(1).half()
    return result
