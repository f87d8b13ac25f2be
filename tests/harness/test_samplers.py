"""Samplers draw what the accountant assumes. Statistical bounds are at six standard deviations, with fixed seeds."""

import math

import pytest
import torch

from dpaudit.contract import Cell, Relation, Rows, RunConfig, Sampler
from harness.samplers import FixedSizeSampler, PoissonSampler, ShuffleSampler, build_sampler


def config(sampler: Sampler, *, size: int = 100, batch: int = 10, expected: float = 10.0) -> RunConfig:
    rows = Rows.SAMPLED if sampler is Sampler.POISSON else Rows.CONSTANT
    return RunConfig(
        dataset_size=size,
        batch_size=batch,
        expected_batch=expected,
        epochs=2,
        steps_per_epoch=size // batch,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=1.0,
        cell=Cell(sampler=sampler, relation=Relation.ZERO_OUT, rows=rows),
    )


def test_poisson_includes_every_example_with_the_same_probability_and_independently() -> None:
    size, probability, draws = 40, 0.15, 20_000
    sampler = PoissonSampler(dataset_size=size, probability=probability, cap=None, seed=1)
    included = torch.zeros(draws, size, dtype=torch.float64)
    for index in range(draws):
        draw = sampler.draw()
        assert draw.sampled == len(draw.indices)
        assert draw.truncated == 0
        included[index, draw.indices] = 1
    deviation = math.sqrt(probability * (1 - probability) / draws)
    assert (included.mean(0) - probability).abs().max() < 6 * deviation
    # Number of rows: mean and variance of a binomial, so the inclusions are not coupled.
    counts = included.sum(1)
    variance = size * probability * (1 - probability)
    assert abs(float(counts.mean()) - size * probability) < 6 * math.sqrt(variance / draws)
    assert abs(float(counts.var()) / variance - 1) < 6 * math.sqrt(2 / draws)
    correlation = torch.corrcoef(included.T) - torch.eye(size)
    assert correlation.abs().max() < 6 / math.sqrt(draws)
    # Successive steps are independent too.
    first, second = included[:-1] - probability, included[1:] - probability
    assert float((first * second).mean()) / variance * size < 6 / math.sqrt(draws * size)


def test_truncation_keeps_a_uniform_subset_of_at_most_the_cap() -> None:
    size, cap, draws = 30, 5, 20_000
    sampler = PoissonSampler(dataset_size=size, probability=0.3, cap=cap, seed=2)
    kept = torch.zeros(size, dtype=torch.float64)
    rows = 0
    for _ in range(draws):
        draw = sampler.draw()
        assert len(draw.indices) == min(cap, draw.sampled)
        assert draw.truncated == draw.sampled - len(draw.indices)
        assert len(draw.indices.unique()) == len(draw.indices)
        kept[draw.indices] += 1
        rows += len(draw.indices)
    probability = rows / draws / size
    assert (kept / draws - probability).abs().max() < 6 * math.sqrt(probability / draws)


def test_shuffle_gives_each_example_at_most_once_an_epoch_and_full_batches() -> None:
    sampler = ShuffleSampler(dataset_size=23, batch_size=5, steps_per_epoch=4, seed=3)
    epochs = []
    for _ in range(3):
        draws = [sampler.draw().indices for _ in range(4)]
        assert all(len(indices) == 5 for indices in draws)
        assert len(torch.cat(draws).unique()) == 20
        epochs.append(torch.cat(draws))
    assert not torch.equal(epochs[0], epochs[1])


def test_shuffle_leaves_out_every_example_equally_often() -> None:
    epochs = 8_000
    sampler = ShuffleSampler(dataset_size=7, batch_size=3, steps_per_epoch=2, seed=4)
    seen = torch.zeros(7, dtype=torch.float64)
    for _ in range(2 * epochs):
        seen[sampler.draw().indices] += 1
    assert (seen / epochs - 6 / 7).abs().max() < 6 * math.sqrt(6 / 49 / epochs)


def test_fixed_size_draws_distinct_examples_uniformly() -> None:
    draws = 8_000
    sampler = FixedSizeSampler(dataset_size=20, batch_size=4, seed=5)
    seen = torch.zeros(20, dtype=torch.float64)
    for _ in range(draws):
        indices = sampler.draw().indices
        assert len(indices.unique()) == 4
        seen[indices] += 1
    assert (seen / draws - 0.2).abs().max() < 6 * math.sqrt(0.16 / draws)


@pytest.mark.parametrize("kind", list(Sampler))
def test_a_restored_sampler_continues_exactly_and_leaves_global_generators_alone(kind: Sampler) -> None:
    run = config(kind)
    first, second = build_sampler(run, seed=6), build_sampler(run, seed=7)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for _ in range(7):
        first.draw()
    second.restore(first.state())
    for _ in range(15):
        assert torch.equal(first.draw().indices, second.draw().indices)
    assert torch.equal(before, torch.get_rng_state())


def test_the_cap_and_the_probability_come_from_the_configuration() -> None:
    run = config(Sampler.TRUNCATED_POISSON, size=200, batch=8, expected=7.0)
    sampler = build_sampler(run, seed=8)
    draws = [sampler.draw() for _ in range(4_000)]
    assert max(len(draw.indices) for draw in draws) == 8
    assert any(draw.truncated for draw in draws)
    mean = sum(draw.sampled for draw in draws) / len(draws)
    assert abs(mean - 7) < 6 * math.sqrt(7 / len(draws))


def test_an_empty_batch_is_a_batch() -> None:
    sampler = PoissonSampler(dataset_size=3, probability=1e-9, cap=None, seed=9)
    assert len(sampler.draw().indices) == 0
