"""Multipliers in closed form at 40 tensors: grouped clipping, noise by layer, and what a scale that moves is worth."""

import math

import pytest
import torch

from dpaudit.contract import NoiseClass
from dpaudit.probe.scale_channel import row_scales, scale_channel

SHAPES = ((2, 2),) * 40
GROUPS = """
out = []
for g in grads:
    m = torch.tensordot(self.C / g.flatten(1).norm(dim=1).clamp(min=self.C), g, dims=1) / self.B
    out.append(m + self.noise(m))
return out
"""
BY_LAYER = GROUPS.replace("for g in grads:", "for j, g in enumerate(grads):").replace(
    "self.noise(m)", "self.noise(m, 1 / (j + 1))"
)


@pytest.fixture(scope="module")
def results(examine_all, mechanism, config):
    run = config(noise_multiplier=1.1, epochs=1, steps_per_epoch=3, parameter_shapes=SHAPES)
    return examine_all({"groups": (mechanism(GROUPS), run), "by layer": (mechanism(BY_LAYER), run)})


@pytest.mark.parametrize(
    ("name", "sigma", "rounded"),
    [
        ("groups", 1.1 / math.sqrt(40), 0.174),
        # (sum_j ((j + 1) / 1.1)^2)^(-1/2) over 40 layers
        ("by layer", 1.1 / math.sqrt(40 * 41 * 81 / 6), 0.0074),
    ],
)
def test_forty_layers(name, sigma, rounded, results):
    result = results[name]
    assert set(result.classes) == {NoiseClass.CLEAN}
    assert result.demonstrated
    assert result.measured == pytest.approx([sigma] * 3, rel=1e-8)
    assert result.measured[0] == pytest.approx(rounded, rel=5e-3)


def test_the_worth_of_a_scale():
    here = torch.ones(4, dtype=torch.float64)
    channel = scale_channel(here, here * (1 + 7.8e-4), [1, 3], [10_000, 16_010])
    assert channel.mu == pytest.approx(math.sqrt(2 * 26_010) * 7.8e-4, rel=1e-9)
    assert channel.mu == pytest.approx(0.18, abs=0.005)
    assert channel.rho == pytest.approx(7.8e-4)
    assert channel.coordinates == 26_010
    assert scale_channel(torch.zeros(2), torch.ones(2), [2], [2]) is None


def test_the_worth_of_a_scale_is_the_distance_of_the_two_gaussians():
    # Hellinger affinity of N(0, 1)^d and N(0, (1 + rho)^2)^d against that of two Gaussians mu apart.
    d, rho = 5_000, 2e-3
    mu = scale_channel(torch.ones(1, dtype=torch.float64), torch.tensor([1 + rho], dtype=torch.float64), [1], [d]).mu
    affinity = (2 * (1 + rho) / (1 + (1 + rho) ** 2)) ** (d / 2)
    assert math.sqrt(-8 * math.log(affinity)) == pytest.approx(mu, rel=2 * rho)


def test_row_scales():
    assert row_scales(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).tolist() == [5.0, 1.0]
