"""``damped_input_mean``: it finds the common direction, its two sums cost what one would, and clipping is done after damping."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

FILE = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "damped_input_mean.py"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("damped_input_mean", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def mechanism(module: ModuleType, *, sigma: float = 0.65, bound: float = 1.0) -> Any:
    return module.DPMechanism(bound, sigma, 36, 60_000, 256, 5, 3.0, 1e-5)


def rows_with_a_common_input(direction: Tensor, *, count: int = 256) -> list[Tensor]:
    """Gradients of a linear layer whose inputs are ``3 direction`` plus a little of their own, and of its bias."""
    generator = torch.Generator().manual_seed(4)
    errors = torch.randn(count, 4, generator=generator)
    inputs = 3 * direction + 0.3 * torch.randn(count, len(direction), generator=generator)
    return [errors[:, :, None] * inputs[:, None, :], errors]


def test_the_common_direction_is_found(module: ModuleType) -> None:
    direction = torch.tensor([0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0])
    tested = mechanism(module)
    torch.manual_seed(0)
    for step in range(60):
        tested.clip_and_noise(rows_with_a_common_input(direction), step, 1)
    assert float(module.unit(tested.directions[0]) @ direction) > 0.99


def test_both_sums_together_cost_what_sigma_says(module: ModuleType) -> None:
    tested = mechanism(module)
    assert tested.direction_std == pytest.approx(256 / 40)
    joint = (tested.gradient_multiplier**-2 + tested.direction_std**-2) ** -0.5
    assert joint == pytest.approx(0.65)
    assert 1 < tested.gradient_multiplier / 0.65 < 1.006


def test_a_vote_is_of_length_one_at_most_even_for_extreme_rows(module: ModuleType) -> None:
    tested = mechanism(module)
    for size in (0.0, 1e-30, 1e-18, 1e-12, 1.0, 1e15, 1e30):
        row = torch.full((1, 4, 8), size)
        for direction in (None, torch.full((8,), 8**-0.5)):
            vote = tested.vote(row, direction)
            assert bool(torch.isfinite(vote).all())
            assert float(vote.norm()) <= 1 + 1e-6
    assert float(tested.vote(torch.ones(1, 4, 8), None).norm()) == pytest.approx(1.0)


def test_rows_are_clipped_in_damped_coordinates(module: ModuleType) -> None:
    """Slow twin: the matrix A is written out, rows are clipped one by one, and the sum is multiplied by A once more."""
    direction = torch.tensor([0.6, 0.8, 0.0])
    gradients = [torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1)), torch.ones(5, 2)]
    tested = mechanism(module, bound=0.7)
    tested.directions = {0: 2 * direction}
    tested.gradient_multiplier = tested.direction_std = 0.0
    weight, bias = tested.clip_and_noise(gradients, 1, 1)
    matrix = torch.eye(3) - 0.75 * torch.outer(direction, direction)
    expected_weight, expected_bias = torch.zeros(2, 3), torch.zeros(2)
    for row, error in zip(*gradients, strict=True):
        damped = row @ matrix
        factor = min(1.0, 0.7 / float((damped.square().sum() + error.square().sum()).sqrt()))
        expected_weight += factor * damped
        expected_bias += factor * error
    torch.testing.assert_close(weight, expected_weight @ matrix / 256)
    torch.testing.assert_close(bias, expected_bias / 256)
