"""The user's tools: the conformance class on a sound mechanism, and each assertion on a broken one."""

# ruff: noqa: NPY002 - mechanisms may draw from the global generator, so its state is what is tested

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from dpaudit.contract import EventTrace, Relation, RunConfig
from dpaudit.testing import (
    MechanismConformance,
    assert_bounded_contribution,
    assert_finite_release,
    assert_fresh_noise,
    assert_input_unchanged,
    assert_noise_ignores_data,
    assert_order_ignored,
    contribution_of,
    gradient_rows,
    load_mechanism,
    other_rows,
    per_sample_gradients,
    run_configs,
    same_noise,
)

SIZES = (4, 3, 2, 2)


class FlatClip:
    """Sound: flat clip, noise for its bound, rows that are not finite set to zero."""

    def __init__(self, bound: float = 1.0, sigma: float = 1.1, batch_size: int = 8) -> None:
        self.bound, self.sigma, self.batch_size = bound, sigma, batch_size

    def weights(self, grads: list[torch.Tensor]) -> torch.Tensor:
        norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
        return (self.bound / norms.clamp(min=1e-12)).clamp(max=1.0)

    def std(self, grads: list[torch.Tensor]) -> float:
        return self.sigma * self.bound

    def clip_and_noise(self, grads: list[torch.Tensor], step: int, epoch: int) -> list[torch.Tensor]:
        grads = [torch.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0) for g in grads]
        weights, std = self.weights(grads), self.std(grads)
        sums = [torch.tensordot(weights, g, dims=1) for g in grads]
        return [(s + std * torch.randn_like(s)) / self.batch_size for s in sums]

    def get_effective_sigma(self, step: int, epoch: int) -> float:
        return self.sigma


class PerTensor(FlatClip):
    """Every tensor clipped to C, noise for one."""

    def clip_and_noise(self, grads: list[torch.Tensor], step: int, epoch: int) -> list[torch.Tensor]:
        return [super(PerTensor, self).clip_and_noise([g], step, epoch)[0] for g in grads]


class HalfNoise(FlatClip):
    def std(self, grads: list[torch.Tensor]) -> float:
        return 0.5 * self.sigma * self.bound


class NoiseFromRows(FlatClip):
    def std(self, grads: list[torch.Tensor]) -> float:
        return self.sigma * (1 + float(self.weights(grads).mean())) if len(grads[0]) else self.sigma


class Reseeds(FlatClip):
    def std(self, grads: list[torch.Tensor]) -> float:
        torch.manual_seed(0)
        return super().std(grads)


class LeaksNaN(FlatClip):
    def clip_and_noise(self, grads: list[torch.Tensor], step: int, epoch: int) -> list[torch.Tensor]:
        weights, std = self.weights(grads), self.std(grads)
        sums = [torch.tensordot(weights, g, dims=1) for g in grads]
        return [(s + std * torch.randn_like(s)) / self.batch_size for s in sums]


class Writes(FlatClip):
    def clip_and_noise(self, grads: list[torch.Tensor], step: int, epoch: int) -> list[torch.Tensor]:
        released = super().clip_and_noise(grads, step, epoch)
        grads[0].zero_()
        return released


class Ordered(FlatClip):
    def weights(self, grads: list[torch.Tensor]) -> torch.Tensor:
        weights = super().weights(grads)
        return weights * torch.linspace(1.0, 0.5, len(weights)) if len(weights) else weights


class TestFlatClip(MechanismConformance):
    sigma = 1.1
    guards_nonfinite = True

    def make(self) -> Any:
        return FlatClip(self.max_grad_norm, self.sigma, self.batch_size)


class TestAnotherBound(MechanismConformance):
    sigma, max_grad_norm, batch_size = 0.7, 0.1, 32

    def make(self) -> Any:
        return FlatClip(self.max_grad_norm, self.sigma, self.batch_size)


def bounded(factory: Any, **changes: Any) -> None:
    assert_bounded_contribution(
        factory, **{"sigma": 1.1, "batch_size": 8, "noise_scale": 1.1, "max_examples": 40} | changes
    )


def test_a_suite_without_a_subject_fails() -> None:
    with pytest.raises(NotImplementedError, match="define make"):
        MechanismConformance().test_has_a_subject()


def test_a_contribution_above_the_bound_is_shown_with_its_row() -> None:
    with pytest.raises(AssertionError, match=r"one row \(.*\) contributes 2(\.0+\d*)?, .*the row is \["):
        bounded(PerTensor)


def test_missing_noise_is_measured() -> None:
    with pytest.raises(AssertionError, match=r"expected noise of scale 1\.1"):
        bounded(HalfNoise)


def test_replacement_is_refused() -> None:
    with pytest.raises(ValueError, match="replace_one"):
        bounded(FlatClip, relation=Relation.REPLACE_ONE)


@pytest.mark.parametrize(
    ("check", "broken", "words"),
    [
        (assert_noise_ignores_data, NoiseFromRows, "differs"),
        (assert_fresh_noise, Reseeds, "same under two seeds"),
        (assert_input_unchanged, Writes, "tensor 0"),
        (assert_order_ignored, Ordered, "order"),
    ],
)
def test_each_assertion_fails_on_its_fault_and_holds_otherwise(check: Any, broken: Any, words: str) -> None:
    check(FlatClip)
    with pytest.raises(AssertionError, match=words):
        check(broken)


def test_rows_that_are_not_finite() -> None:
    assert_finite_release(LeaksNaN)
    assert_finite_release(FlatClip, nonfinite=True)
    with pytest.raises(AssertionError, match="not finite"):
        assert_finite_release(LeaksNaN, nonfinite=True)


def test_contribution_of_a_pair() -> None:
    zeros = [torch.zeros(2, 3)]
    row = [torch.cat([zeros[0], torch.tensor([[3.0, 0.0, 0.0]])])]
    found = contribution_of(FlatClip(sigma=0.5), zeros, row, calls=512)
    assert found.noise_multiplier == pytest.approx(0.5, rel=0.15)
    assert float(found.change.norm()) == pytest.approx(1 / 8, rel=1e-5)
    assert contribution_of(FlatClip(), zeros, zeros).noise_multiplier == math.inf
    assert contribution_of(FlatClip(sigma=0.0), zeros, row).noise_multiplier == 0.0


@settings(deadline=None, max_examples=60)
@given(gradient_rows(SIZES, nonfinite=True))
def test_generated_rows_have_the_shape(row: torch.Tensor) -> None:
    assert row.shape == (11,)


@settings(deadline=None, max_examples=60)
@given(per_sample_gradients())
def test_generated_batches_are_finite_and_survived(batch: list[torch.Tensor]) -> None:
    assert all(bool(torch.isfinite(tensor).all()) for tensor in batch)
    released = FlatClip().clip_and_noise(batch, 0, 1)
    assert [tuple(tensor.shape) for tensor in released] == [tuple(tensor.shape[1:]) for tensor in batch]


@settings(deadline=None, max_examples=30)
@given(run_configs())
def test_generated_runs_can_be_accounted(config: RunConfig) -> None:
    from dpaudit.accounting import epsilon_bracket

    trace = EventTrace.of_run(config, (config.noise_multiplier,) * config.total_steps)
    assert epsilon_bracket(trace, config.target_delta).upper is not None


def test_noise_is_seeded_inside_the_block_only() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    expected = (torch.randn(1), np.random.rand())
    torch.manual_seed(5)
    np.random.seed(5)
    with same_noise(1):
        first = (torch.randn(1), np.random.rand())
    with same_noise(1):
        second = (torch.randn(1), np.random.rand())
    assert first == second
    assert (torch.randn(1), np.random.rand()) == expected


def test_a_file_and_rows_for_a_snippet(tmp_path: Path) -> None:
    path = tmp_path / "mechanism.py"
    path.write_text(
        "class DPMechanism:\n    def clip_and_noise(self, grads, step, epoch):\n        return [g.sum(0) for g in grads]\n"
    )
    assert load_mechanism(str(path))().clip_and_noise([torch.ones(2, 3)], 0, 1)[0].tolist() == [2.0, 2.0, 2.0]
    assert other_rows("aligned", 3, [[2, 2]]).shape == (3, 4)
