"""The scattering transform of images: Morlet wavelets at two scales, two orders, averaged over 4x4 pixels.

Notation: J = 2 scales, L = 8 angles, N padded side, n output side. For a wavelet psi of scale j and angle t and a
Gaussian average phi, the coefficients of an image x are phi*x, phi*|psi_1*x| (16 of them) and phi*||psi_1*x|*psi_2|
with the scale of psi_2 above that of psi_1 (64), every one sampled at each fourth pixel: 81 a colour. Each row depends on
its own image alone and on no trained or private number.

Source: Bruna and Mallat 2013 (arXiv 1203.1513); the filters, padding and order of channels are those of Kymatio 0.3
(Andreux et al. 2020, arXiv 1812.11214), which is the slow twin in the tests. The convolutions with wavelets are products
of Fourier transforms; the average is a product with two small matrices, since a Gaussian is separable.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SCALES = 2
ANGLES = 8
CHANNELS = 1 + SCALES * ANGLES + ANGLES**2
"""Coefficients of one colour at one place: 81."""
_STRIDE = 2**SCALES
_REACH = 4
"""Periods of the padded image over which a filter is summed; its Gaussian has long vanished beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scattering:
    """The transform for square images of one size, from :func:`scattering_of`.

    Attributes:
        padding: pixels mirrored on at every side.
        wavelets: ``[2, 8, N, N // 2 + 1]``, real transforms by scale and angle.
        average, average_of_halved: ``[n, N]`` and ``[n, N // 2]``, the Gaussian average at every fourth pixel, of rows at
            full and at half resolution.
    """

    padding: int
    wavelets: Tensor
    average: Tensor
    average_of_halved: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """``[B, 81, n, n]`` of images ``[B, N, N]`` before padding, float32 or float64."""
        padded = functional.pad(images[:, None], (self.padding,) * 4, mode="reflect")
        fine, coarse = self.wavelets
        spectrum = torch.fft.fft2(padded)  # [B, 1, N, N]
        first = _modulus(spectrum * fine)
        first_halved = _modulus(_halved_product(spectrum, coarse))
        second = _modulus(_halved_product(torch.fft.fft2(first)[:, :, None], coarse)).flatten(1, 2)
        return torch.cat(
            [
                _averaged(padded, self.average),
                _averaged(first, self.average),
                _averaged(first_halved, self.average_of_halved),
                _averaged(second, self.average_of_halved),
            ],
            dim=1,
        )


def scattering_of(side: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Scattering:
    """The transform of images of ``side`` by ``side`` pixels; its output has ``side // 4`` by ``side // 4`` places."""
    padded = ((side + _STRIDE) // _STRIDE + 1) * _STRIDE
    wavelets = torch.stack(
        [torch.stack([_wavelet(padded, scale, angle) for angle in range(ANGLES)]) for scale in range(SCALES)]
    )
    row = _gaussian_row(padded)
    return Scattering(
        padding=(padded - side) // 2,
        wavelets=wavelets.to(device, dtype),
        average=_averaging(row, _STRIDE).to(device, dtype),
        average_of_halved=_averaging(_halved_row(row), _STRIDE // 2).to(device, dtype),
    )


def _modulus(spectra: Tensor) -> Tensor:
    signals: Tensor = torch.fft.ifft2(spectra)
    return signals.abs()


def _halved_product(spectra: Tensor, wavelets: Tensor) -> Tensor:
    """The product, then every second row and column of its signal: the mean of the four frequencies that fall together.

    Real and imaginary parts lie side by side and meet the same real factor, so the products are real ones.
    """
    half = wavelets.shape[-1] // 2
    parts = torch.view_as_real(spectra).flatten(-2)
    factors = (wavelets / 4).repeat_interleave(2, dim=-1)
    total: Tensor | None = None
    for down in (slice(None, half), slice(half, None)):
        for right in (slice(None, 2 * half), slice(2 * half, None)):
            part, factor = parts[..., down, right], factors[..., down, right]
            total = part * factor if total is None else total.addcmul_(part, factor)
    assert total is not None
    return torch.view_as_complex(total.view(*total.shape[:-1], half, 2))


def _averaged(signals: Tensor, average: Tensor) -> Tensor:
    return average @ signals @ average.T


def _places(side: int) -> Tensor:
    """Positions of every pixel in all periods, ``[2 * _REACH + 1, side]``."""
    periods = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64) * side
    return periods[:, None] + torch.arange(side, dtype=torch.float64)


def _wavelet(side: int, scale: int, angle: int) -> Tensor:
    """Transform of a Morlet wavelet: a Gaussian, long across its wave, times a wave whose mean is taken out. It is real."""
    deviation, frequency, slant = 0.8 * 2**scale, 0.75 * math.pi / 2**scale, 4 / ANGLES
    turn = (ANGLES // 2 - 1 - angle) * math.pi / ANGLES
    places = _places(side).flatten()
    down, right = places[:, None], places[None, :]
    along = down * math.cos(turn) + right * math.sin(turn)
    across = -down * math.sin(turn) + right * math.cos(turn)
    envelope = torch.exp(-(along**2 + (slant * across) ** 2) / (2 * deviation**2))
    envelope = envelope * (slant / (2 * math.pi * deviation**2))
    periods = 2 * _REACH + 1

    def periodic(signal: Tensor) -> Tensor:
        return signal.view(periods, side, periods, side).sum(dim=(0, 2))

    gaussian, wave = periodic(envelope), periodic(envelope * torch.exp(1j * frequency * along))
    spectrum: Tensor = torch.fft.fft2(wave - wave.sum() / gaussian.sum() * gaussian)
    return spectrum.real


def _gaussian_row(side: int) -> Tensor:
    """One factor of the Gaussian average, ``[side]``, centred at 0 and periodic."""
    deviation = 0.8 * 2 ** (SCALES - 1)
    values: Tensor = torch.exp(-(_places(side) ** 2) / (2 * deviation**2)).sum(0)
    return values.mul(1 / (deviation * math.sqrt(2 * math.pi)))


def _halved_row(row: Tensor) -> Tensor:
    """The same average for signals at half resolution: its low frequencies."""
    side = len(row)
    spectrum: Tensor = torch.fft.fft(row)
    halved: Tensor = torch.fft.ifft(torch.cat([spectrum[: side // 4], spectrum[-(side // 4) :]]))
    return halved.real


def _averaging(row: Tensor, stride: int) -> Tensor:
    """Matrix ``[n, len(row)]``: the periodic convolution with ``row`` at every ``stride``-th place but the padded ends."""
    side = len(row)
    outputs = torch.arange(stride, side - stride, stride)
    matrix: Tensor = row[(outputs[:, None] - torch.arange(side)[None, :]) % side]
    return matrix
