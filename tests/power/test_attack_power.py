"""Power and false alarms at the benchmark's own settings. Minutes long: set DPAUDIT_POWER=1 to run them."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from dpaudit.contract import Measurement, NoiseClass, Outcome, RunConfig
from dpaudit.empirical import attack
from dpaudit.empirical.attack import _step
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


def config(sigma: float) -> RunConfig:
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
        parameter_shapes=SHAPES,
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


@pytest.mark.parametrize(("mode", "budget"), [("step", 10.0), ("run", 120.0)])
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


def test_two_hundred_honest_audits() -> None:
    run = config(HONEST_SIGMA)
    seen = measured(run)
    (mode,) = make_plan(run, seen, modes=("step",)).modes
    case = Case.of(run, seen)
    above, refuted, audits = 0, 0, 200
    with Stage(load_source(mechanism("accepted/standard_dpsgd.py")), run) as stage:
        for seed in range(audits):
            heard = _step(stage, case, mode, seed + 1, 1.5)
            assert heard is not None
            refuted += bool(heard.refuted_by)
            above += heard.bounds[0].epsilon > 3.0
    assert refuted == 0
    assert above <= binom.ppf(0.999, audits, mode.print_level)


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
