"""Shuffled batches accounted as Poisson: the game, its statistic, and the refutation of running code."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dpaudit.contract import Cell, Measurement, NoiseClass, Outcome, Relation, Rows, RunConfig, Sampler
from dpaudit.empirical import EmpiricalResult, attack
from dpaudit.empirical.batches import Batches
from dpaudit.empirical.game import Run, Setup, config_to_plain
from dpaudit.empirical.planning import Case
from dpaudit.empirical.shuffled_statistic import one_place
from dpaudit.probe import load_source

EPOCHS, STEPS = 2, 5
HONEST = Path(__file__).resolve().parents[2] / "mechanisms" / "accepted" / "standard_dpsgd.py"


def five_batches(sigma: float, *, epochs: int = 1) -> RunConfig:
    """Epochs of five batches."""
    return RunConfig(
        dataset_size=200,
        batch_size=40,
        expected_batch=40.0,
        epochs=epochs,
        steps_per_epoch=STEPS,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=sigma,
        parameter_shapes=((4, 3), (4,)),
    )


def honest(run: RunConfig) -> Measurement:
    """What the probe reads of a mechanism that reports its noise rightly."""
    sigmas = (run.noise_multiplier,) * run.total_steps
    return Measurement(
        outcome=Outcome.PASSED,
        reported=sigmas,
        measured=sigmas,
        classes=(NoiseClass.CLEAN,) * run.total_steps,
        demonstrated=True,
        pair="",
        findings=(),
        seconds=0.0,
    )


def released(shift: float, *, runs: int, seed: int, noise: float = 0.5, level: float = -40.0) -> np.ndarray:
    """Projections of runs whose level moves by ``shift`` at one random step of every epoch, as the player sends them."""
    generator = np.random.default_rng(seed)
    along = generator.normal(level, noise, (runs, EPOCHS, STEPS))
    place = generator.integers(STEPS, size=(runs, EPOCHS, 1))
    np.put_along_axis(along, place, np.take_along_axis(along, place, 2) + shift, 2)
    flat = along.reshape(runs, -1)
    return np.stack([flat, np.zeros_like(flat)], axis=2)


def test_the_statistic_is_the_likelihood_ratio_written_out() -> None:
    inside, outside = released(2.0, runs=400, seed=1), released(1.0, runs=400, seed=2)
    scores = one_place(inside, outside, steps_per_epoch=STEPS, missed=0.0).score(inside)
    for run, score in zip(inside[:20, :, 0], scores[:20], strict=True):
        ideal = 0.0
        for epoch in ((run + 40.0) / 0.5).reshape(EPOCHS, STEPS):
            ideal += math.log(sum(math.exp(4 * x - 8) for x in epoch)) - math.log(
                sum(math.exp(2 * x - 2) for x in epoch)
            )
        assert score == pytest.approx(ideal, abs=2.0)  # fitted to 400 runs, so not to the digit
    model = one_place(inside, outside, steps_per_epoch=STEPS, missed=0.0).model
    assert model is not None
    drawn_in, drawn_out = model(4000, 0)
    assert np.median(drawn_in) == pytest.approx(np.median(scores), abs=0.5)
    assert np.median(drawn_out) < 0 < np.median(drawn_in)


@pytest.mark.parametrize("missed", [0.0, 0.1])
def test_the_statistic_is_finite_on_hostile_releases(missed: float) -> None:
    still = np.zeros((8, EPOCHS * STEPS, 2))
    wild = released(1e30, runs=8, seed=3)
    for inside, outside in ((still, still), (wild, still), (still, wild), (wild, wild)):
        statistic = one_place(inside, outside, steps_per_epoch=STEPS, missed=missed)
        assert np.isfinite(statistic.score(inside)).all()
        assert np.isfinite(statistic.score(outside)).all()


@pytest.mark.parametrize("rows", list(Rows))
def test_a_shuffled_epoch_shows_the_place_in_both_worlds(rows: Rows) -> None:
    relation = Relation.ADD_REMOVE if rows is Rows.SAMPLED else Relation.ZERO_OUT
    cell = Cell(
        sampler=Sampler.TRUNCATED_POISSON if rows is Rows.CONSTANT else Sampler.POISSON, relation=relation, rows=rows
    )
    run = replace(five_batches(1.0, epochs=EPOCHS), cell=cell)
    batches = Batches(Run.from_plain(config_to_plain(run, drawn=Sampler.SHUFFLE)), ((4, 3), (4,)))
    setup = Setup(steps=10, sampled=True, facing=True, base_norms=(1.0,), canary_norm=1.0)
    stock = batches.stock(1.0, facing=True)
    canary = torch.cat([part.flatten() for part in batches.canary])
    for world in (0, 1):
        along = []
        for others, present in batches.draw(setup, np.random.default_rng(5)):
            made = batches.batch(stock, others=others, setup=setup, world=world, present=present)
            along.append(float(torch.cat([part.sum(0).flatten() for part in made]) @ canary))
        expected = [[-40.0] * 4 + [-39.0 + world]] * 2
        assert [sorted(along[:5]), sorted(along[5:])] == [pytest.approx(epoch, abs=1e-4) for epoch in expected]


def played(sigma: float, drawn: Sampler | None) -> tuple[RunConfig, EmpiricalResult]:
    """One epoch of five batches at a claim with nothing to spare."""
    run = five_batches(sigma)
    seen = honest(run)
    run = replace(run, target_epsilon=Case.of(run, seen).step_epsilon(1 / sigma, 0) * 1.002)
    budget = 60.0 if drawn else 6.0  # a refutation ends by itself
    return run, attack(load_source(str(HONEST)), run, seen, seed=3, budget_seconds=budget, modes=("run",), drawn=drawn)


def test_shuffled_batches_accounted_as_poisson_are_refuted() -> None:
    run, result = played(0.5, Sampler.SHUFFLE)
    assert result.outcome is Outcome.VIOLATED, result.summary
    (finding,) = result.findings
    assert finding.evidence["drawn_by"] == "shuffle"
    assert "one place in each epoch" in str(finding.evidence["attack"])
    (bound,) = (bound for bound in result.bounds if bound.valid)
    assert bound.family == "none"  # an epsilon of the declared family means nothing for another sampler
    assert 0 < bound.epsilon < run.target_epsilon  # the curve is refuted, not the target's epsilon by itself


def test_poisson_batches_at_the_same_claim_are_not_refuted() -> None:
    _, result = played(0.5, None)
    assert result.outcome is Outcome.PASSED, result.summary
    assert result.ceiling >= (result.epsilon_lower or 0.0)
