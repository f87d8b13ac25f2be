"""Trade-off and delta curves: both sides, against the exact Gaussian and against the bracket."""

import time

import mpmath
import numpy as np
import pytest

from dpaudit.accounting import epsilon_bracket
from dpaudit.accounting.tradeoff import delta_at, gaussian_tradeoff, tradeoff_curve
from dpaudit.contract import Cell, EventTrace, Relation, Rows, Sampler, UnsupportedCellError, UsageError

ALPHAS = np.linspace(0, 1, 400)
MNIST = EventTrace(cell=Cell(), sampling_probability=256 / 60000, sigmas=(0.6508,) * 1170)


@pytest.mark.parametrize(("relation", "mu"), [(Relation.ADD_REMOVE, 1.0), (Relation.REPLACE_ONE, 2.0)])
def test_exact_gaussian_lies_between(relation, mu):
    trace = EventTrace(cell=Cell(relation=relation), sampling_probability=1.0, sigmas=(10.0,) * 100)
    exact = gaussian_tradeoff(ALPHAS, mu)
    low, high = (tradeoff_curve(trace, ALPHAS, pessimistic=side) for side in (True, False))
    assert (low <= exact + 1e-12).all()
    assert (high >= exact - 1e-12).all()
    np.testing.assert_allclose(low, high, atol=2e-3)


def test_deltas_of_an_exact_gaussian_enclose_it_narrowly():
    """Against mpmath: either side lies on its own side of the exact delta, at most 1.5e-12 away."""
    trace = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(10.0,) * 100)
    epsilons = np.array([0.0, 0.5, 2.0, 5.0])
    with mpmath.workdps(40):
        exact = [
            mpmath.ncdf(0.5 - eps) - mpmath.exp(eps) * mpmath.ncdf(-0.5 - eps) for eps in map(mpmath.mpf, epsilons)
        ]
        low, high = (delta_at(trace, epsilons, pessimistic=side) for side in (False, True))
        for below, truth, above in zip(low, exact, high, strict=True):
            assert 0 < truth - below < 1.5e-12
            assert 0 < above - truth < 1.5e-12


@pytest.mark.parametrize("relation", [Relation.ADD_REMOVE, Relation.REPLACE_ONE])
def test_sides_are_ordered_close_and_fast(relation):
    trace = EventTrace(cell=Cell(relation=relation), sampling_probability=0.01, sigmas=(1.0,) * 300)
    for side in (True, False):
        tradeoff_curve(trace, ALPHAS, pessimistic=side)
    start = time.process_time()
    low, high = (tradeoff_curve(trace, ALPHAS, pessimistic=side) for side in (True, False))
    assert time.process_time() - start < 0.5  # two curves of 400 points; measured 0.04
    assert (low <= high).all()
    np.testing.assert_allclose(low, high, atol=4e-3)
    assert (np.diff(low) <= 1e-15).all()


def test_simulated_attack_stays_above_the_lower_curve():
    """The likelihood ratio test of 100 Poisson steps, simulated: its error rates must lie on or above the lower curve."""
    rng = np.random.default_rng(29)
    q, sigma, steps, trials = 0.05, 0.8, 100, 20_000
    trace = EventTrace(cell=Cell(), sampling_probability=q, sigmas=(sigma,) * steps)

    def scores(present):
        total = np.zeros(trials)
        for _ in range(steps):
            x = rng.standard_normal(trials) * sigma + present * (rng.random(trials) < q)
            total += np.log1p(q * np.expm1((x - 0.5) / sigma**2))
        return total

    with_row, without = scores(1), scores(0)
    thresholds = np.quantile(without, np.linspace(0.02, 0.98, 40))
    alpha = np.array([(without > t).mean() for t in thresholds])
    beta = np.array([(with_row <= t).mean() for t in thresholds])
    floor = tradeoff_curve(trace, alpha, pessimistic=True)
    assert (beta >= floor - 0.01).all()
    # the same thresholds as a test of the other order: one of the two orders attains the upper curve
    reached = np.minimum(beta, np.interp(alpha, beta[::1], alpha))
    np.testing.assert_allclose(reached, tradeoff_curve(trace, alpha, pessimistic=False), atol=0.012)


def test_delta_curve_inverts_the_bracket():
    bracket = epsilon_bracket(MNIST, 1e-5)
    assert delta_at(MNIST, np.array([bracket.upper * 1.002]), pessimistic=True)[0] <= 1e-5
    assert delta_at(MNIST, np.array([bracket.lower * 0.998]), pessimistic=False)[0] >= 1e-5
    epsilons = np.linspace(0, 6, 50)
    high, low = (delta_at(MNIST, epsilons, pessimistic=side) for side in (True, False))
    assert (low <= high).all()
    assert (np.diff(high) <= 1e-15).all()
    np.testing.assert_allclose(low[:30], high[:30], rtol=0.02)


def test_shapes_are_kept():
    assert delta_at(MNIST, np.ones((2, 3)), pessimistic=True).shape == (2, 3)
    assert tradeoff_curve(MNIST, np.full((3, 1), 0.1), pessimistic=True).shape == (3, 1)


def test_edges_of_the_curve():
    silent = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(float("inf"),))
    np.testing.assert_allclose(tradeoff_curve(silent, ALPHAS, pessimistic=True), 1 - ALPHAS, atol=1e-12)
    naked = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(0.0,))
    assert tradeoff_curve(naked, ALPHAS, pessimistic=True).max() == 0.0
    assert (tradeoff_curve(naked, ALPHAS, pessimistic=False) <= 1 - ALPHAS).all()


def test_wrong_arguments_are_refused():
    with pytest.raises(UsageError, match="every alpha"):
        tradeoff_curve(MNIST, np.array([0.5, np.nan]), pessimistic=True)
    with pytest.raises(UsageError, match="every epsilon"):
        delta_at(MNIST, np.array([-0.1]), pessimistic=True)
    cell = Cell(sampler=Sampler.SHUFFLE, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
    shuffled = EventTrace(cell=cell, sampling_probability=0.1, sigmas=(1.0,), steps_per_epoch=1)
    with pytest.raises(UnsupportedCellError, match="two different pairs"):
        tradeoff_curve(shuffled, ALPHAS, pessimistic=True)


@pytest.mark.parametrize(("relation", "mu"), [(Relation.ADD_REMOVE, 1.5), (Relation.REPLACE_ONE, 3.0)])
def test_an_exact_gaussian_of_another_width(relation, mu):
    trace = EventTrace(cell=Cell(relation=relation), sampling_probability=1.0, sigmas=(10.0,) * 225)
    for side in (True, False):
        np.testing.assert_allclose(
            tradeoff_curve(trace, ALPHAS, pessimistic=side), gaussian_tradeoff(ALPHAS, mu), atol=2e-3
        )


def test_one_wrong_argument_among_right_ones_is_refused():
    with pytest.raises(UsageError, match="every epsilon"):
        delta_at(MNIST, np.array([1.0, -0.1]), pessimistic=True)
    with pytest.raises(UsageError, match="every alpha"):
        tradeoff_curve(MNIST, np.array([0.5, 1.5]), pessimistic=True)


def test_cells_without_an_answer_and_releases_before_training_are_refused():
    cell = Cell(sampler=Sampler.SHUFFLE, relation=Relation.ADD_REMOVE, rows=Rows.SAMPLED)
    with pytest.raises(UnsupportedCellError, match="no answer for"):
        delta_at(EventTrace(cell=cell, sampling_probability=0.1, sigmas=(1.0,)), np.ones(1), pessimistic=True)
    prepared = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(1.0,), preparation=(30.0,))
    with pytest.raises(UnsupportedCellError, match="a trade-off curve has no answer"):
        delta_at(prepared, np.ones(1), pessimistic=True)


def test_no_delta_is_above_one():
    naked = EventTrace(cell=Cell(), sampling_probability=0.1, sigmas=(0.0,))
    assert delta_at(naked, np.array([0.0, 3.0]), pessimistic=True).tolist() == [1.0, 1.0]
    loud = EventTrace(cell=Cell(), sampling_probability=1.0, sigmas=(0.01,))
    assert delta_at(loud, np.zeros(1), pessimistic=True).tolist() == [1.0]


CAPPED = Cell(sampler=Sampler.TRUNCATED_POISSON, relation=Relation.ZERO_OUT, rows=Rows.CONSTANT)
FIXED = Cell(sampler=Sampler.FIXED_SIZE, relation=Relation.REPLACE_ONE, rows=Rows.CONSTANT)


@pytest.mark.parametrize("cell", [CAPPED, FIXED])
@pytest.mark.parametrize("delta", [1e-3, 1e-5])
def test_either_side_is_that_of_its_own_pair(cell, delta):
    """Where the two pairs differ, each curve meets its own end of the bracket from both sides."""
    trace = EventTrace(cell=cell, sampling_probability=0.1, sigmas=(1.0,) * 30, batch_size=10, dataset_size=100)
    bracket = epsilon_bracket(trace, delta)
    assert bracket.upper > 1.03 * bracket.lower
    for end, side in ((bracket.upper, True), (bracket.lower, False)):
        outside, inside = delta_at(trace, np.array([0.99 * end, 1.01 * end]), pessimistic=side)
        assert inside < delta < outside


@pytest.mark.parametrize("delta", [0.3, 1e-3, 1e-7])
def test_both_sides_are_sharp_at_large_and_at_small_deltas(delta):
    trace = EventTrace(cell=Cell(), sampling_probability=0.01, sigmas=(0.7,) * 500)
    epsilon = epsilon_bracket(trace, delta).lower
    low, high = (delta_at(trace, np.array([epsilon]), pessimistic=side)[0] for side in (False, True))
    assert low <= high <= low * 1.003
