"""Attacks as points: the corner of the limits lies under the curve exactly where the attack itself says refuted."""

import math

import numpy as np
import pytest

import harness
from dpaudit.contract import AttackCurve, Measurement, NoiseClass, Outcome, RunConfig
from dpaudit.empirical.attack_curves import attack_curves
from dpaudit.empirical.bound import Design, Family, LowerBound
from dpaudit.empirical.planning import AttackPlan, Case, make_plan
from dpaudit.empirical.rectangle import Tally
from dpaudit.empirical.result import EmpiricalResult, Heard


def measured(config: RunConfig) -> Measurement:
    sigmas = (config.noise_multiplier,) * config.total_steps
    return Measurement(
        outcome=Outcome.PASSED,
        reported=sigmas,
        measured=sigmas,
        classes=(NoiseClass.CLEAN,) * config.total_steps,
        demonstrated=True,
        pair="",
        findings=(),
        seconds=0.0,
    )


def result(plan: AttackPlan, *heard: Heard) -> EmpiricalResult:
    return EmpiricalResult(
        outcome=Outcome.PASSED,
        summary="",
        epsilon_lower=None,
        method="",
        ceiling=0.0,
        bounds=(),
        findings=(),
        plan=plan,
        seconds=0.0,
        heard=heard,
    )


def rectangle_bound() -> LowerBound:
    return LowerBound(
        method="clopper_pearson",
        epsilon=0.0,
        ceiling=0.0,
        delta=1e-5,
        level=0.01,
        design=Design.INDEPENDENT,
        family=Family.NONE,
        valid=True,
    )


def under(curve: AttackCurve) -> bool:
    """Whether the corner of the limits lies under the curve; linear between its points, which a convex curve is below."""
    limits = curve.points[0].limits
    assert limits is not None
    alphas, betas = zip(*curve.claimed, strict=True)
    return bool(limits[1] < np.interp(limits[0], alphas, betas))


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return harness.run_config("digits")


@pytest.mark.parametrize("mode", [0, 1], ids=["step", "run"])
def test_the_curve_refutes_where_the_attack_does(config: RunConfig, mode: int) -> None:
    measurement = measured(config)
    plan, case = make_plan(config, measurement), Case.of(config, measurement)
    chosen = plan.modes[mode]
    said: set[bool] = set()
    for wrong in (0, 40, 120, 200, 280, 300, 320, 400):
        tally = Tally(false_positives=wrong, outside=1000, false_negatives=wrong, inside=1000)
        heard = Heard(chosen, bounds=[rectangle_bound()], tallies=[tally])
        (curve,) = attack_curves(config, measurement, result(plan, heard))
        level = chosen.gate_level
        refuted = case.step_refuted(tally, 0, level) if chosen.mode == "step" else bool(case.run_refuted(tally, level))
        assert under(curve) == refuted, wrong
        said.add(refuted)
    assert said == {True, False}


def test_runs_that_were_ended_by_what_they_showed_have_no_limits(config: RunConfig) -> None:
    measurement = measured(config)
    plan = make_plan(config, measurement)
    tally = Tally(false_positives=0, outside=20, false_negatives=1, inside=20)
    (curve,) = attack_curves(config, measurement, result(plan, Heard(plan.modes[1], tallies=[tally])))
    assert curve.points[0].limits is None
    assert (curve.points[0].false_positive, curve.points[0].false_negative) == (0.0, 0.05)


def test_where_no_family_is_known_the_target_alone_is_the_curve() -> None:
    config = harness.run_config("benchmark-mnist")
    measurement = measured(config)
    plan = make_plan(config, measurement)
    tally = Tally(false_positives=1, outside=20, false_negatives=1, inside=20)
    step, run = (Heard(mode, bounds=[rectangle_bound()], tallies=[tally]) for mode in plan.modes)
    (curve,) = attack_curves(config, measurement, result(plan, step, run))  # one step has no curve without a schedule
    assert curve.place == "run"
    values = dict(curve.claimed)
    assert values[0.0] == pytest.approx(1 - config.target_delta)
    assert values[0.5] == pytest.approx((0.5 - config.target_delta) / math.exp(config.target_epsilon))


def test_an_attack_that_was_not_played_leaves_no_curve(config: RunConfig) -> None:
    measurement = measured(config)
    assert attack_curves(config, measurement, result(make_plan(config, measurement))) == ()
