"""The scattering transform against its definition, written out slowly, and against Kymatio where that is installed."""

import math

import numpy as np
import pytest
import torch

from harness.scattering import ANGLES, CHANNELS, scattering_of


def images(count: int, side: int) -> torch.Tensor:
    return torch.rand(count, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def gaussian_wave(side: int, deviation: float, turn: float, frequency: float, slant: float) -> np.ndarray:
    """A periodic Gaussian times a wave, point by point from its formula."""
    total = np.zeros((side, side), dtype=complex)
    for down in range(-3, 4):
        for right in range(-3, 4):
            u, v = np.mgrid[down * side : (down + 1) * side, right * side : (right + 1) * side]
            along = u * math.cos(turn) + v * math.sin(turn)
            across = -u * math.sin(turn) + v * math.cos(turn)
            total += np.exp(-(along**2 + slant**2 * across**2) / (2 * deviation**2)) * np.exp(1j * frequency * along)
    return total * slant / (2 * math.pi * deviation**2)


def convolve(signal: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Periodic convolution by its sum."""
    total = np.zeros(signal.shape, dtype=complex)
    for down, right in np.ndindex(*kernel.shape):
        total += kernel[down, right] * np.roll(signal, (down, right), axis=(0, 1))
    return total


def slow_first_order(image: np.ndarray, scale: int, angle: int) -> np.ndarray:
    padded = np.pad(image, 4, mode="reflect")
    turn = (ANGLES // 2 - 1 - angle) * math.pi / ANGLES
    shape = (len(padded), 0.8 * 2**scale, turn)
    envelope = gaussian_wave(*shape, 0.0, 4 / ANGLES)
    wave = gaussian_wave(*shape, 0.75 * math.pi / 2**scale, 4 / ANGLES)
    wavelet = wave - wave.sum() / envelope.sum() * envelope
    modulus = np.abs(convolve(padded, wavelet))
    average = gaussian_wave(len(padded), 1.6, 0.0, 0.0, 1.0).real
    return convolve(modulus, average).real[4:-4:4, 4:-4:4]


@pytest.mark.parametrize("angle", [0, 3, 5])
def test_first_order_is_its_definition(angle: int) -> None:
    image = images(1, 8)
    got = scattering_of(8, dtype=torch.float64)(image)[0, 1 + angle]
    np.testing.assert_allclose(got, slow_first_order(image[0].numpy(), 0, angle), atol=1e-12)


def test_zeroth_order_is_the_average_and_a_flat_image_has_nothing_else() -> None:
    flat = torch.full((1, 8, 8), 0.7, dtype=torch.float64)
    got = scattering_of(8, dtype=torch.float64)(flat)[0]
    torch.testing.assert_close(got[0], torch.full((2, 2), 0.7, dtype=torch.float64), rtol=1e-9, atol=0)
    assert float(got[1:].abs().max()) < 1e-9


@pytest.mark.parametrize("side", [28, 32])
def test_agrees_with_kymatio(side: int) -> None:
    frontend = pytest.importorskip(
        "kymatio.scattering2d.frontend.torch_frontend", reason="kymatio is not installed: the slow twin is left out"
    )
    batch = images(3, side).float()
    expected = frontend.ScatteringTorch2D(2, (side, side), L=8)(batch)
    got = scattering_of(side)(batch)
    assert got.shape == (3, CHANNELS, side // 4, side // 4)
    # Kymatio takes pi as 3.1415 in both factors of its normalisation, and works in single precision.
    torch.testing.assert_close(got, expected, rtol=2e-4, atol=1e-5)


def test_every_row_depends_on_its_own_image_alone() -> None:
    batch = images(4, 28).float()
    transform = scattering_of(28)
    changed = batch.clone()
    changed[1] = 1 - changed[1]
    before, after = transform(batch), transform(changed)
    assert torch.equal(before[[0, 2, 3]], after[[0, 2, 3]])
    assert not torch.equal(before[1], after[1])


def test_scaling_an_image_scales_its_coefficients() -> None:
    batch = images(2, 28)
    transform = scattering_of(28, dtype=torch.float64)
    torch.testing.assert_close(transform(3 * batch), 3 * transform(batch))
