"""Power and false alarms at the benchmark's own settings. Minutes long: set DPAUDIT_POWER=1 to run them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.contract import Cell, Measurement, NoiseClass, Outcome, Relation, Rows, RunConfig, Sampler
from dpaudit.empirical import attack
from dpaudit.empirical.attack import Game
from dpaudit.empirical.effort import Effort
from dpaudit.empirical.planning import Case, make_plan
from dpaudit.empirical.stage import Stage
from dpaudit.probe import load_source

pytestmark = [
    pytest.mark.skipif(os.environ.get("DPAUDIT_POWER") != "1", reason="minutes long; set DPAUDIT_POWER=1"),
    pytest.mark.timeout(3600),
]

MECHANISMS = Path(__file__).resolve().parents[2] / "mechanisms"
HONEST_SIGMA, BENCHMARK_SIGMA = 0.6508, 0.2385
SHAPES = ((16, 1, 8, 8), (16,), (32, 16, 4, 4), (32,), (32, 512), (32,), (10, 32), (10,))


def config(sigma: float, shapes: tuple[tuple[int, ...], ...] = SHAPES) -> RunConfig:
    return RunConfig(
        dataset_size=60_000,
        batch_size=256,
        expected_batch=256.0,
        epochs=5,
        steps_per_epoch=234,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=1e-5,
        noise_multiplier=sigma,
        parameter_shapes=shapes,
    )


def measured(run: RunConfig, *, known: bool = True) -> Measurement:
    steps = run.total_steps
    return Measurement(
        outcome=Outcome.PASSED,
        reported=(run.noise_multiplier,) * steps,
        measured=((run.noise_multiplier if known else None),) * steps,
        classes=(NoiseClass.CLEAN,) * steps,
        demonstrated=known,
        pair="",
        findings=(),
        seconds=0.0,
    )


def mechanism(name: str) -> str:
    return str(MECHANISMS / name)


@pytest.mark.parametrize(
    ("mode", "budget"), [("step", 30.0), ("run", 400.0)]
)  # seconds at most: a refutation ends by itself
def test_the_benchmark_sigma_is_refuted(mode: str, budget: float) -> None:
    run = config(BENCHMARK_SIGMA)
    source = load_source(mechanism("accepted/standard_dpsgd.py"))
    result = attack(source, run, measured(run), budget_seconds=budget, modes=(mode,))
    assert result.outcome is Outcome.VIOLATED, result.summary


def test_the_honest_sigma_is_not_refuted_and_nearly_attained() -> None:
    run = config(HONEST_SIGMA)
    source = load_source(mechanism("accepted/standard_dpsgd.py"))
    result = attack(source, run, measured(run), budget_seconds=120.0, modes=("step",))
    assert result.outcome is Outcome.PASSED, result.summary
    assert result.epsilon_lower is not None
    assert result.epsilon_lower >= 0.9 * 2.999


@pytest.mark.parametrize("name", ["adaptive_clipping", "per_layer_one_bound", "batch_mean_gamma"])
def test_rejected_mechanisms_are_refuted_from_outputs_alone(name: str) -> None:
    run = config(HONEST_SIGMA)
    source = load_source(mechanism(f"rejected/{name}.py"))
    result = attack(source, run, measured(run, known=False), budget_seconds=90.0, modes=("step",))
    assert result.outcome is Outcome.VIOLATED, result.summary


AUDIT = Effort(name="audit", step_trials=400, run_pairs=64, only_if_planned=True)
"""Small counts: two hundred audits are about how often they are wrong, not about how much each can show."""


def honest_audits(
    run: RunConfig, mode_name: str, audits: int, pilot_trials: int, effort: Effort
) -> tuple[int, int, int]:
    """(refuted, bounds above the truth, audits played) over seeded audits that share one worker.

    Every audit has its own pilot, statistics, threshold, trials and seeds; only the process is shared, which starts each
    trial from the mechanism's first state.
    """
    seen = measured(run)
    (mode,) = make_plan(run, seen, modes=(mode_name,)).modes
    case = Case.of(run, seen)
    truth = case.step_epsilon(1 / run.noise_multiplier, 0)
    above = refuted = played = 0
    with Stage(load_source(mechanism("accepted/standard_dpsgd.py")), run) as stage:
        for seed in range(1, audits + 1):
            game = Game(case, seed, effort, 600.0, None, pilot_trials=pilot_trials)
            game.play(stage, mode, last=True)
            (heard,) = game.heard
            refuted += bool(heard.refuted_by)
            above += any(bound.valid and bound.epsilon > truth * 1.001 for bound in heard.bounds)
            played += 1
    return refuted, above, played


def test_two_hundred_honest_audits_of_one_step() -> None:
    run = config(HONEST_SIGMA, shapes=((4, 3), (4,)))
    refuted, above, played = honest_audits(run, "step", 200, 40, AUDIT)
    print(f"step: {refuted} refuted, {above} of {played} bounds above the truth at 5 %")
    assert played == 200
    assert refuted == 0
    assert above <= binom.ppf(0.999, played, 0.05)


def test_two_hundred_honest_audits_of_whole_runs() -> None:
    # forty steps: the number of steps changes what a run costs, not how often an audit is wrong
    run = replace(config(0.8, shapes=((4, 3), (4,))), dataset_size=2000, batch_size=40, expected_batch=40.0, epochs=1)
    run = replace(run, steps_per_epoch=40, target_epsilon=3.0)
    truth = Case.of(run, measured(run)).step_epsilon(1 / run.noise_multiplier, 0)
    run = replace(run, target_epsilon=truth * 1.002)  # honest, with nothing to spare
    refuted, above, played = honest_audits(run, "run", 200, 40, AUDIT)
    print(f"run: {refuted} refuted, {above} of {played} bounds above the truth at 5 %")
    assert played == 200
    assert refuted == 0
    assert above <= binom.ppf(0.999, played, 0.05)


def test_shuffled_batches_accounted_as_poisson_at_sigma_one_half() -> None:
    # one epoch of five batches
    run = replace(config(0.5, shapes=((4, 3), (4,))), dataset_size=200, batch_size=40, expected_batch=40.0, epochs=1)
    run = replace(run, steps_per_epoch=5)
    run = replace(run, target_epsilon=Case.of(run, measured(run)).step_epsilon(2.0, 0) * 1.002)
    source = load_source(mechanism("accepted/standard_dpsgd.py"))
    found = attack(source, run, measured(run), budget_seconds=400.0, modes=("run",), drawn=Sampler.SHUFFLE)
    assert found.outcome is Outcome.VIOLATED, found.summary


@pytest.mark.parametrize("sigma", [0.25, 1.0])
def test_shuffled_batches_accounted_as_poisson_at_less_and_more_noise(sigma: float) -> None:
    run = replace(config(sigma, shapes=((4, 3), (4,))), dataset_size=200, batch_size=40, expected_batch=40.0, epochs=1)
    run = replace(run, steps_per_epoch=5)
    run = replace(run, target_epsilon=Case.of(run, measured(run)).step_epsilon(1 / sigma, 0) * 1.002)
    source = load_source(mechanism("accepted/standard_dpsgd.py"))
    found = attack(source, run, measured(run), budget_seconds=400.0, modes=("run",), drawn=Sampler.SHUFFLE)
    assert found.outcome is Outcome.VIOLATED, found.summary


def test_shuffled_batches_accounted_as_poisson_at_the_honest_budget() -> None:
    # the benchmark's own settings at a sigma that is honest for Poisson batches
    run = config(HONEST_SIGMA)
    source = load_source(mechanism("accepted/standard_dpsgd.py"))
    found = attack(source, run, measured(run), budget_seconds=900.0, modes=("run",), drawn=Sampler.SHUFFLE)
    assert found.outcome is Outcome.VIOLATED, found.summary


def test_two_hundred_honest_audits_with_the_pattern_for_shuffled_batches() -> None:
    # batches are shuffled and accounted as such: the pattern that refutes a Poisson claim must not refute the true one
    cell = Cell(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    run = replace(config(1.0, shapes=((4, 3), (4,))), dataset_size=200, batch_size=40, expected_batch=40.0, epochs=1)
    run = replace(run, steps_per_epoch=5, cell=cell)
    run = replace(run, target_epsilon=gaussian_epsilon(1 / run.noise_multiplier, run.target_delta)[1])
    (mode,) = make_plan(run, measured(run), modes=("run",)).modes
    case, refuted, above = Case.of(run, measured(run)), 0, 0
    with Stage(load_source(mechanism("accepted/standard_dpsgd.py")), run) as stage:
        for seed in range(1, 201):
            game = Game(case, seed, AUDIT, 600.0, None, pilot_trials=40)
            game.play(stage, mode, last=True)
            (heard,) = game.heard
            refuted += bool(heard.refuted_by)
            above += any(bound.valid and bound.epsilon > run.target_epsilon for bound in heard.bounds)
    assert refuted == 0
    assert above <= binom.ppf(0.999, 200, 0.05)


def test_coverage_of_multi_split_at_full_length() -> None:
    from dpaudit.empirical.rectangle import gaussian_mu
    from dpaudit.empirical.thresholds import MultiSplit, best_bound

    generator = np.random.default_rng(3)
    bad = 0
    for seed in range(1000):
        inside, outside = generator.normal(0.5, 1, 60), generator.normal(0, 1, 60)
        tally, level = best_bound(
            MultiSplit(), inside, outside, lambda t, a: gaussian_mu(t.rectangle(a)), level=0.05, seed=seed
        )
        bad += gaussian_mu(tally.rectangle(level)) > 0.5
    assert bad <= binom.ppf(0.999, 1000, 0.05)
