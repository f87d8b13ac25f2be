"""Releases of the whole data set before training, composed with the steps."""

import dataclasses
import math

import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.privacy_accountant import NeighboringRelation

from dpaudit.accounting import calibrate_noise_multiplier, epsilon_bracket, honest_noise_factor, rdp_epsilon
from dpaudit.accounting.gaussian_curve import gaussian_epsilon
from dpaudit.accounting.tradeoff import tradeoff_curve
from dpaudit.contract import (
    Calibration,
    Cell,
    EventTrace,
    Relation,
    Rows,
    RunConfig,
    Sampler,
    UnsupportedCellError,
    UsageError,
)

DELTA = 1e-5


def trace(
    *, q: float = 0.1, sigma: float = 2.0, steps: int = 100, preparation: tuple[float, ...] = (5.0,), **named: object
) -> EventTrace:
    return EventTrace(
        cell=Cell(**named),  # type: ignore[arg-type]
        sampling_probability=q,
        sigmas=(sigma,) * steps,
        batch_size=100,
        dataset_size=1000,
        preparation=preparation,
    )


@pytest.mark.parametrize(
    ("q", "sigma", "steps", "preparation"),
    [(0.1365, 3.335, 280, (30.0,)), (0.1, 2.0, 100, (5.0,)), (0.01, 0.8, 500, (2.0, 3.0)), (0.5, 4.0, 3, (0.9,))],
)
def test_the_bracket_holds_the_library_with_both_events(
    q: float, sigma: float, steps: int, preparation: tuple[float, ...]
) -> None:
    accountant = PLDAccountant(
        neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE, value_discretization_interval=1e-3
    )
    accountant.compose(dp_event.PoissonSampledDpEvent(q, dp_event.GaussianDpEvent(sigma)), steps)
    for multiplier in preparation:
        accountant.compose(dp_event.GaussianDpEvent(multiplier))
    library = accountant.get_epsilon(DELTA)
    bracket = epsilon_bracket(trace(q=q, sigma=sigma, steps=steps, preparation=preparation), DELTA)
    assert bracket.lower is not None
    assert bracket.upper is not None
    assert bracket.lower <= bracket.upper <= bracket.lower * 1.005
    # The library's own discretisation rounds up by at most its interval a step, in practice far less.
    assert bracket.lower <= library
    assert bracket.upper == pytest.approx(library, rel=2e-3)


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.ZERO_OUT, Relation.REPLACE_ONE])
def test_without_sampling_it_is_one_exact_gaussian(relation: Relation) -> None:
    reach = 2.0 if relation is Relation.REPLACE_ONE else 1.0
    bracket = epsilon_bracket(trace(q=1.0, sigma=20.0, steps=7, preparation=(9.0, 11.0), relation=relation), DELTA)
    exact = gaussian_epsilon(reach * math.sqrt(7 / 20**2 + 1 / 9**2 + 1 / 11**2), DELTA)
    assert (bracket.lower, bracket.upper) == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.ZERO_OUT, Relation.REPLACE_ONE])
def test_nearly_no_sampling_approaches_the_exact_gaussian(relation: Relation) -> None:
    """The convolution itself, against the closed form that q = 1 takes."""
    near = epsilon_bracket(trace(q=1 - 1e-9, sigma=20.0, steps=7, preparation=(9.0,), relation=relation), DELTA)
    exact = epsilon_bracket(trace(q=1.0, sigma=20.0, steps=7, preparation=(9.0,), relation=relation), DELTA)
    assert near.lower == pytest.approx(exact.lower, rel=2e-3)
    assert near.upper == pytest.approx(exact.upper, rel=2e-3)
    assert near.lower is not None
    assert exact.upper is not None
    assert near.lower <= exact.upper * (1 + 1e-7)


@pytest.mark.parametrize(
    "cell",
    [
        {},
        {"relation": Relation.REPLACE_ONE},
        {"sampler": Sampler.TRUNCATED_POISSON, "rows": Rows.CONSTANT, "relation": Relation.ZERO_OUT},
        {"sampler": Sampler.FIXED_SIZE, "rows": Rows.CONSTANT, "relation": Relation.REPLACE_ONE},
    ],
)
def test_a_release_costs_in_every_cell_and_more_noise_costs_less(cell: dict[str, object]) -> None:
    q = 0.05 if cell.get("sampler") is Sampler.TRUNCATED_POISSON else 0.1
    uppers = [
        epsilon_bracket(trace(q=q, preparation=preparation, **cell), DELTA).upper or math.nan
        for preparation in ((), (40.0,), (5.0,), (1.0,))
    ]
    assert uppers == sorted(uppers)
    assert len(set(uppers)) == 4
    lowers = [
        epsilon_bracket(trace(q=q, preparation=preparation, **cell), DELTA).lower or math.nan
        for preparation in ((), (5.0,), (1.0,))
    ]
    assert lowers == sorted(lowers)


def test_a_release_alone_is_charged_too() -> None:
    silent = dataclasses.replace(trace(), sigmas=(math.inf,) * 3)
    bracket = epsilon_bracket(silent, DELTA)
    assert (bracket.lower, bracket.upper) == pytest.approx(gaussian_epsilon(1 / 5.0, DELTA), rel=1e-9)
    assert rdp_epsilon(silent, DELTA) >= (bracket.upper or 0)


def test_renyi_is_above_and_knows_the_release() -> None:
    with_release, without = trace(), trace(preparation=())
    upper = epsilon_bracket(with_release, DELTA).upper
    assert upper is not None
    assert rdp_epsilon(with_release, DELTA) > max(upper, rdp_epsilon(without, DELTA))


def test_renyi_charges_a_release_as_an_unsampled_step_and_twice_its_reach_if_rows_are_replaced() -> None:
    release = dataclasses.replace(trace(), sigmas=(math.inf,))
    assert rdp_epsilon(release, DELTA) == rdp_epsilon(trace(q=1.0, sigma=5.0, steps=1, preparation=()), DELTA)
    replaced = trace(sampler=Sampler.FIXED_SIZE, rows=Rows.CONSTANT, relation=Relation.REPLACE_ONE, preparation=(10.0,))
    assert rdp_epsilon(dataclasses.replace(replaced, sigmas=(math.inf,)), DELTA) == rdp_epsilon(release, DELTA)


def test_calibration_pays_for_the_release_and_the_factor_leaves_it_alone() -> None:
    settings = {"target_epsilon": 3.0, "delta": DELTA, "cell": Cell(), "sampling_probability": 0.1365333, "steps": 280}
    plain = calibrate_noise_multiplier(**settings)  # type: ignore[arg-type]
    charged = calibrate_noise_multiplier(**settings, preparation=(30.0,))  # type: ignore[arg-type]
    assert 1.0005 < charged.noise_multiplier / plain.noise_multiplier < 1.002
    assert charged.bracket.upper is not None
    assert 2.997 <= charged.bracket.upper <= 2.9994
    half = EventTrace(
        cell=Cell(),
        sampling_probability=0.1365333,
        sigmas=(charged.noise_multiplier / 2,) * 280,
        preparation=(30.0,),
    )
    assert half.scaled(2.0).preparation == (30.0,)
    assert honest_noise_factor(half, 3.0, DELTA) == pytest.approx(2.0, rel=1e-3)


def test_a_release_that_overspends_alone_has_no_calibration() -> None:
    with pytest.raises(UsageError, match="does not meet"):
        calibrate_noise_multiplier(
            target_epsilon=1.0, delta=DELTA, cell=Cell(), sampling_probability=0.1, steps=5, preparation=(0.5,)
        )


def test_what_does_not_know_releases_refuses_them() -> None:
    shuffled = trace(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    with pytest.raises(UnsupportedCellError, match="shuffle has no answer"):
        epsilon_bracket(dataclasses.replace(shuffled, steps_per_epoch=10), DELTA)
    with pytest.raises(UnsupportedCellError, match="trade-off curve has no answer"):
        tradeoff_curve(trace(), [0.1], pessimistic=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("multiplier", [0.0, -1.0, math.inf, math.nan])
def test_multipliers_must_be_positive_and_finite(multiplier: float) -> None:
    with pytest.raises(UsageError, match="preparation must be positive and finite"):
        trace(preparation=(multiplier,))


def test_a_run_carries_its_releases_into_its_trace() -> None:
    config = RunConfig(
        dataset_size=1000,
        batch_size=100,
        expected_batch=100.0,
        epochs=1,
        steps_per_epoch=10,
        max_grad_norm=1.0,
        target_epsilon=3.0,
        target_delta=DELTA,
        noise_multiplier=2.0,
        preparation=(7.0,),
    )
    assert EventTrace.of_run(config, (2.0,) * 10).preparation == (7.0,)
    with pytest.raises(UsageError, match="knows no preparation"):
        dataclasses.replace(config, calibration=Calibration.BENCHMARK)
    with pytest.raises(UsageError, match="preparation must be positive"):
        dataclasses.replace(config, preparation=(0.0,))
