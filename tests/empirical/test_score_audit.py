"""The gate's tests on scores of trainings: their level under the claim itself, and their power against less noise."""

import numpy as np
import pytest
from scipy.stats import binom

import harness
from dpaudit.accounting import epsilon_bracket
from dpaudit.contract import Cell, EventTrace
from dpaudit.empirical.bound import Design
from dpaudit.empirical.score_audit import Claim, Place, counted_bound, plan_places, printed_bounds, refuted
from dpaudit.empirical.scores import Scores

LEVEL = 0.2
RUNS = 1_000
TRACE = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(1.0,))
DELTA = 1e-5
CLAIM = Claim(epsilon=epsilon_bracket(TRACE, DELTA).upper or 0.0, delta=DELTA, trace=TRACE, budget=TRACE)
"""One Gaussian release: the best attack on what keeps the claim exactly is known."""


def place(design: Design, trials: int, level: float = LEVEL) -> Place:
    return Place(
        name="here",
        design=design,
        trials=trials,
        gate_level=level,
        print_level=level,
        ceiling=0.0,
        able=True,
        needed=None,
    )


def drawn(design: Design, trials: int, mu: float, seed: int) -> Scores:
    """Fair coins for one run; half and half for independent trials."""
    generator = np.random.default_rng(seed)
    member = generator.random(trials) < 0.5 if design is Design.ONE_RUN else np.arange(trials) % 2 == 0
    values = generator.standard_normal(trials) + mu * member
    return Scores(inside=values[member], outside=values[~member])


@pytest.mark.parametrize("design", list(Design))
@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_what_keeps_the_claim_is_refuted_at_most_at_the_level(design: Design, mu: float) -> None:
    at = place(design, 32)
    count = sum(bool(refuted(drawn(design, 32, mu, seed), CLAIM, at)) for seed in range(RUNS))
    assert count <= binom.ppf(0.999, RUNS, LEVEL)


@pytest.mark.parametrize("design", list(Design))
def test_a_tenth_of_the_noise_is_refuted_at_the_gates_level(design: Design) -> None:
    at = place(design, 1_600, 5e-7)
    assert refuted(drawn(design, 1_600, 10.0, 0), CLAIM, at)
    assert not refuted(drawn(design, 1_600, 1.0, 0), CLAIM, at)


@pytest.mark.parametrize("design", list(Design))
def test_only_what_the_design_supports_counts(design: Design) -> None:
    bounds = printed_bounds(drawn(design, 200, 3.0, 1), CLAIM, place(design, 200), seed=0)
    one_run = {"steinke", "one_run_fdp", "one_run_fdp_accountant"}
    assert {bound.method for bound in bounds if bound.valid} == (
        one_run if design is Design.ONE_RUN else {"clopper_pearson", "gdp", "accountant_family"}
    )
    counted = counted_bound(bounds, design)
    assert counted is not None
    assert counted.method == ("one_run_fdp_accountant" if design is Design.ONE_RUN else "accountant_family")


@pytest.mark.parametrize("design", list(Design))
def test_the_needed_number_is_enough_and_little_less_is_not(design: Design) -> None:
    few, many = plan_places(CLAIM, {"few": 16, "many": 4_096}, design=design)
    assert few.needed is not None
    assert (few.able, many.able) == (False, True)
    assert many.ceiling > CLAIM.epsilon
    exact = plan_places(CLAIM, {"a": few.needed, "b": few.needed * 15 // 16}, design=design)
    assert (exact[0].able, exact[1].able) == (True, False)


def test_shuffled_runs_have_no_curve_and_only_the_family_free_half_is_spent() -> None:
    config = harness.run_config("digits", noise_multiplier=1.3, sampler="shuffle")
    claim = Claim.of(config)
    assert claim.budget is None
    (at,) = plan_places(claim, {"here": 1_000}, design=Design.INDEPENDENT)
    perfect = Scores(inside=np.ones(500), outside=np.zeros(500))
    assert refuted(perfect, claim, at) == "clopper_pearson"
    assert {bound.method for bound in printed_bounds(perfect, claim, at, seed=0)} == {
        "steinke",
        "one_run_fdp",
        "clopper_pearson",
        "gdp",
    }
