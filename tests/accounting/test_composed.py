"""Composed by hand: delta and epsilon of a discrete pair by their definitions, between knots, at them and outside."""

import math

import numpy as np
import pytest

from dpaudit.accounting.composed import Composed

LOSSES = np.array([-1.0, -0.25, 0.0, 0.5, 1.25, 2.0, 3.0])
MASSES = np.array([0.1, 0.2, 0.2, 0.2, 0.15, 0.1, 0.05])


def composed(*, reference=0.7, error=0.0, infinity=0.0, losses=LOSSES, masses=MASSES):
    beyond = [(losses > loss) for loss in losses]
    return Composed(
        losses=losses,
        above=np.array([masses[right].sum() for right in beyond]),
        above_q=np.array([(masses[right] * np.exp(reference - losses[right])).sum() for right in beyond]),
        reference=reference,
        error=np.broadcast_to(np.asarray(error, dtype=float), losses.shape).copy(),
        infinity=infinity,
    )


def delta_of(epsilon):
    right = epsilon < LOSSES
    return float((MASSES[right] * -np.expm1(epsilon - LOSSES[right])).sum())


def steps_of(values, losses=(0.0, 1.0, 2.0, 3.0)):
    """A curve that is constant between knots: all the mass beyond them is at infinite loss, so to say."""
    above = np.array(values)
    nothing = np.zeros(len(above))
    return Composed(losses=np.array(losses), above=above, above_q=nothing, reference=0.0, error=nothing, infinity=0.0)


@pytest.mark.parametrize("reference", [-0.4, 0.0, 0.7, 2.5])
def test_deltas_are_the_sum_over_losses_beyond(reference):
    epsilons = np.array([-1.0, -0.9, -0.25, 0.0, 0.1, 0.5, 0.9, 1.25, 1.9, 2.0, 2.9, 3.0, 3.5, 1e9])
    truth = np.array([delta_of(epsilon) for epsilon in epsilons])
    curve = composed(reference=reference, error=1e-3, infinity=0.02)
    np.testing.assert_allclose(curve.deltas(epsilons, pessimistic=True), truth + 1e-3 + 0.02, rtol=1e-12)
    np.testing.assert_allclose(
        curve.deltas(epsilons, pessimistic=False), np.maximum(truth - 1e-3, 0.0), rtol=1e-12, atol=1e-15
    )


def test_left_of_the_window_only_the_trivial_bounds_hold():
    curve = composed()
    np.testing.assert_array_equal(curve.deltas(np.array([-1.0001, -1e9]), pessimistic=True), 1.0)
    np.testing.assert_array_equal(curve.deltas(np.array([-1.0001, -1e9]), pessimistic=False), 0.0)


def test_deltas_stay_probabilities():
    curve = composed(error=5.0)
    np.testing.assert_array_equal(curve.deltas(np.array([0.3]), pessimistic=True), 1.0)
    np.testing.assert_array_equal(curve.deltas(np.array([0.3]), pessimistic=False), 0.0)


def test_each_cell_has_the_error_of_its_left_knot():
    error = np.array([0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01])
    curve = composed(error=error)
    for cell, epsilon in enumerate(LOSSES[:-1] + 0.1):
        above, below = (curve.deltas(np.array([epsilon]), pessimistic=side)[0] for side in (True, False))
        assert above == pytest.approx(delta_of(epsilon) + error[cell], rel=1e-12)
        assert below == pytest.approx(max(delta_of(epsilon) - error[cell], 0.0), rel=1e-12)


@pytest.mark.parametrize("reference", [-0.4, 0.0, 0.7])
@pytest.mark.parametrize("epsilon", [1e-3, 0.3, 0.5, 0.501, 1.0, 1.7, 2.9])
def test_epsilon_inverts_delta(epsilon, reference):
    curve = composed(reference=reference, error=0.004, infinity=0.01)
    delta = delta_of(epsilon)
    assert curve.epsilon(delta + 0.014, pessimistic=True) == pytest.approx(epsilon, rel=1e-10)
    if delta > 0.004:
        assert curve.epsilon(delta - 0.004, pessimistic=False) == pytest.approx(epsilon, rel=1e-10)


def test_epsilon_is_never_below_zero():
    """What is met at the first loss that is not negative is answered with that loss; what none exceeds, with 0."""
    curve = composed(losses=LOSSES + 0.1)
    assert curve.epsilon(0.9, pessimistic=True) == pytest.approx(0.1)
    assert curve.epsilon(0.9, pessimistic=False) == 0.0
    assert composed().epsilon(0.9, pessimistic=True) == 0.0


def test_a_bound_that_meets_delta_exactly_will_do_from_above_and_will_not_from_below():
    curve = steps_of([0.5, 0.25, 0.25, 0.0])
    assert curve.epsilon(0.25, pessimistic=True) == 1.0
    assert curve.epsilon(0.25, pessimistic=False) == 0.0
    assert curve.epsilon(0.2, pessimistic=True) == 3.0
    assert curve.epsilon(0.2, pessimistic=False) == 2.0


def test_what_no_knot_meets_is_infinite_and_what_all_exceed_ends_with_the_window():
    curve = steps_of([0.5, 0.25, 0.25, 0.125])
    assert curve.epsilon(0.1, pessimistic=True) == math.inf
    assert curve.epsilon(0.1, pessimistic=False) == 3.0
    assert curve.epsilon(0.6, pessimistic=False) == 0.0


def test_a_window_that_ends_before_the_losses_do_ends_the_answer_too():
    """Half of the mass lies just beyond the last knot, so that from below even that one exceeds delta."""
    beyond = np.exp(-2.001) * np.array([0.5, 0.5, 0.5])
    curve = Composed(
        losses=np.array([0.0, 1.0, 2.0]), above=np.full(3, 0.5), above_q=beyond, reference=0.0, error=np.zeros(3), infinity=0.0
    )  # fmt: skip
    assert curve.epsilon(1e-5, pessimistic=False) == 2.0
    assert curve.epsilon(0.45, pessimistic=True) == 0.0
    assert curve.epsilon(1e-5, pessimistic=True) == math.inf


def test_an_error_that_falls_from_knot_to_knot_keeps_epsilon_inside_its_cell():
    """Just left of the knot at 1.25 the bound is still above delta, at the knot it is below: the knot is the answer."""
    curve = composed(error=np.array([0.3, 0.3, 0.3, 0.3, 0.0, 0.0, 0.0]))
    assert curve.epsilon(delta_of(1.25) + 0.1, pessimistic=True) == 1.25


def test_nan_will_not_do():
    curve = steps_of([math.nan, math.nan, math.nan, math.nan])
    assert curve.epsilon(0.1, pessimistic=True) == math.inf
    assert curve.epsilon(0.1, pessimistic=False) == 0.0
